"""Boards as files: what /proc, /sys and /etc of a few real boards say, for tests, the demo and trying out.

`python -m edgefleet_agent.hardware.samples DIR` copies them out, to be looked at or changed. Device
tree and instruction sets are those that the boards really have; memory and sensors are of one ordinary moment. Two of
them have a battery.
"""

from pathlib import Path

NAMES = (
    "agx-orin",
    "agx-xavier",
    "cm4",
    "cm5",
    "jetson-nano",
    "orin-nano",
    "orin-nx",
    "pi-zero-2-w",
    "pi3a-plus",
    "pi3b",
    "pi3b-plus",
    "pi4",
    "pi400",
    "pi5",
    "pi500",
    "tx2",
    "xavier-nx",
)
MACHINE = "aarch64"
"""What `uname -m` says on each of them."""


def path(name: str) -> Path:
    """Return the root of the sample called `name`; raise KeyError, with the names there are, for another."""
    if name not in NAMES:
        raise KeyError(f"no sample is called {name!r}; there are {', '.join(NAMES)}")
    return Path(__file__).with_name(name)
