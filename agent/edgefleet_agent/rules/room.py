"""Is there memory for two workers at once? If not, the old one makes room for the new one."""

from dataclasses import dataclass
from typing import Literal

from edgefleet_protocol.manifest import Variant

from ..conditions import Surroundings
from ..store.facts import TrialFact

RESERVE_SHARE, LEAST_RESERVE_BYTES, MOST_RESERVE_BYTES = 0.03, 16_000_000, 256_000_000
"""Of the device's memory, left free for the system: what is available at one moment is not at the next."""
MEASURED_MARGIN = 1.25
"""What a trial measured, and so much more: requests come in greater numbers than golden inputs."""


@dataclass(frozen=True)
class Room:
    """How two workers can follow each other, and why so."""

    how: Literal["beside", "instead", "none"]
    why: str


def room(around: Surroundings, memory_bytes: int, need_bytes: int, old_bytes: int | None) -> Room:
    """Return whether a worker that needs `need_bytes` fits beside what runs, or only instead of the one that serves.

    memory_bytes: the device's whole memory, 0 when that is not known. old_bytes: what the worker that serves gives back; None
    when none serves.
    """
    free = around.memory_available_bytes
    if free is None or not need_bytes:
        return Room("beside", "beside the worker that serves: how much memory is free, or needed, is not known")
    reserve = reserve_bytes(memory_bytes)
    words = f"{_mb(need_bytes)} are needed, {_mb(reserve)} are the system's, {_mb(free)} are free"
    if need_bytes + reserve <= free:
        return Room("beside", f"beside the worker that serves: {words}")
    if old_bytes is None:
        return Room("none", f"no memory: {words}")
    if need_bytes + reserve <= free + old_bytes:
        return Room("instead", f"instead of the worker that serves, which has {_mb(old_bytes)}: {words}")
    return Room("none", f"no memory, even without the worker that serves and its {_mb(old_bytes)}: {words}")


def reserve_bytes(memory_bytes: int) -> int:
    """Return what is left to the system of so much memory."""
    return int(min(max(memory_bytes * RESERVE_SHARE, LEAST_RESERVE_BYTES), MOST_RESERVE_BYTES))


def need_bytes(variant: Variant, tried: TrialFact | None) -> int:
    """Return what a worker of `variant` needs: as measured here, and at most what is signed; 0 when neither is known."""
    signed = variant.requires.memory_bytes
    found = tried.measured.memory_bytes if tried is not None and tried.measured is not None else None
    if tried is None or not tried.passed or found is None:
        return signed
    measured = int(found * MEASURED_MARGIN)
    return min(signed, measured) if signed else measured


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
