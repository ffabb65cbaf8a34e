"""EdgeFleet compression: a trained model into variants for the hardware of a fleet."""

__version__ = "0.1.0"
