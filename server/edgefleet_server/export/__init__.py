"""Telemetry out of the server, as files for other programs."""
