"""The mix of boards, and how fast each is next to a Raspberry Pi 5. Boards are the agent's samples of real ones.

The speeds are rough ratios of int8 and float inference of small networks on one board to another. They order the classes; no
figure of a simulation is a statement about a board.
"""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from edgefleet_agent.hardware import samples
from edgefleet_agent.hardware.probe import HardwareProbe
from edgefleet_protocol.hardware import Hardware, RuntimeInfo

RUNTIME = "simulated"
"""The runtime that virtual boards have. Releases of a simulation name it, so no real device can take one."""


@dataclass(frozen=True)
class Board:
    """One class of devices in the fleet."""

    sample: str
    share: float
    slowness: float
    """Of an inference, next to a Pi 5."""
    battery_share: float = 0.0
    """How many of them run on a battery."""
    idle_c: float = 45.0


MIX = (
    Board("pi-zero-2-w", 0.30, 6.0, battery_share=0.3, idle_c=42.0),
    Board("pi4", 0.30, 2.4, idle_c=50.0),
    Board("pi5", 0.20, 1.0, idle_c=52.0),
    Board("orin-nano", 0.12, 0.35, battery_share=0.2, idle_c=48.0),
    Board("x86", 0.08, 0.5, idle_c=55.0),
)


def board_of(number: int) -> Board:
    """Return the board of device `number`: in shares that hold for every hundred."""
    place, total = (number * 37 % 100) / 100, 0.0
    for board in MIX:
        total += board.share
        if place < total:
            return board
    return MIX[-1]


@cache
def hardware(sample: str) -> Hardware:
    """Return what a board is, as the agent's probe reads its files."""
    runtimes = (RuntimeInfo(name=RUNTIME, version="1.23.2"),)
    if sample == "x86":
        return Hardware(
            board="generic",
            hardware_class="generic-x86-64",
            arch="x86_64",
            features=("avx2",),
            cores=4,
            memory_bytes=8_000_000_000,
            storage_bytes=64_000_000_000,
            runtimes=runtimes,
        )
    with tempfile.TemporaryDirectory() as folder:
        probe = HardwareProbe(Path(folder), samples.path(sample), samples.MACHINE, keep=False)
        found = probe.hardware()
    return msgspec.structs.replace(found, storage_bytes=32_000_000_000, runtimes=runtimes)
