"""Groups of devices by query."""
