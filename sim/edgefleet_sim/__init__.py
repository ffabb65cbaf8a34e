"""Many virtual devices with the agent's own decisions, against a real broker and server."""

__version__ = "0.1.0"
