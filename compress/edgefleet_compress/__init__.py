"""EdgeFleet compression: a trained model into variants for the hardware of a fleet."""

import os

# Newer runtimes tell their maker that they run. Whoever wants that says so in the environment.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
