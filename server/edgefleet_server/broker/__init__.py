"""The broker as somebody else's program: the configuration that Mosquitto needs, whether it holds, and cutting a device off."""
