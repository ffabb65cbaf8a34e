"""API replicas: processes that answer the API and the pages beside the one server, which alone signs and speaks MQTT."""
