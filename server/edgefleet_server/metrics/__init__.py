"""Numbers about groups of devices and about the server, for its own rules and for Prometheus."""
