"""EdgeFleet client: what an application on the device imports."""

__version__ = "0.1.0"
