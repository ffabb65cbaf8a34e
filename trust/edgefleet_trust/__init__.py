"""EdgeFleet trust: keys, ceremony, proposals and the TUF repository."""

__version__ = "0.1.0"
