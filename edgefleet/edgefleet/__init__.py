"""The one command, `edgefleet`: it finds the part that a verb belongs to and runs it."""

__version__ = "0.1.0"
