"""The broker: the hub's connection to it, and the one that the demo starts. Nothing else imports paho."""
