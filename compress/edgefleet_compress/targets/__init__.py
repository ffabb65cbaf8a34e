"""Targets: what is known of the hardware classes of a fleet, and the time that a model is expected to need on each."""

import platform
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import tomllib

from edgefleet_protocol.hardware import class_of
from edgefleet_protocol.manifest import LatencyRow, Requirement

from ..measure import Measures

DEVICE_TREE = Path("/sys/firmware/devicetree/base/compatible")


@dataclass(frozen=True)
class Target:
    """One hardware class. The rates are effective ones, of one core, estimated unless `source` says otherwise."""

    name: str
    board: str
    arch: str
    features: tuple[str, ...]
    memory_bytes: int
    fp32_macs_per_s: float
    int8_macs_per_s: float
    per_operator_s: float
    """What the runtime costs for each operator, besides the arithmetic."""
    source: str

    def can_run(self, needs: Requirement) -> bool:
        """Return whether devices of this class have the processor and the instruction sets that a variant needs."""
        return (not needs.arch or self.arch in needs.arch) and set(needs.features) <= set(self.features)

    def latency_s(self, measures: Measures) -> float:
        """Return the seconds that one inference is expected to take, one thread."""
        arithmetic = measures.fp32_macs / self.fp32_macs_per_s + measures.int8_macs / self.int8_macs_per_s
        return arithmetic + measures.arm_nodes * self.per_operator_s


@cache
def targets() -> tuple[Target, ...]:
    """Return all targets, by name."""
    found = sorted((file for file in files(__package__).iterdir() if file.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(_read(file.name.removesuffix(".toml"), file.read_text()) for file in found)


def _read(name: str, text: str) -> Target:
    settings = tomllib.loads(text)
    return Target(name=name, **(settings | {"features": tuple(settings["features"])}))


def this_class() -> str:
    """Return the hardware class of this machine."""
    try:
        compatible = tuple(part.decode() for part in DEVICE_TREE.read_bytes().split(b"\0") if part)
    except OSError:
        compatible = ()
    return class_of(compatible, platform.machine())


def known_features() -> tuple[str, ...]:
    """Return every instruction set that some target has, in order."""
    return tuple(sorted({feature for target in targets() for feature in target.features}))


def latency_table(measures: Measures, needs: Requirement) -> tuple[LatencyRow, ...]:
    """Return what was measured here for this machine's class, and a prediction for every other that can run it."""
    here = this_class()
    measured = LatencyRow(
        hardware_class=here,
        p50_s=measures.latency_p50_s,
        how="measured",
        source="one thread, batch 1, where it was made",
    )
    predicted = [
        LatencyRow(
            hardware_class=target.name, p50_s=target.latency_s(measures), how="predicted",
            source=f"{measures.fp32_macs} fp32 and {measures.int8_macs} int8 MACs, {measures.arm_nodes} operators",
        )
        for target in targets()
        if target.name != here and target.can_run(needs)
    ]  # fmt: skip
    return (measured, *predicted)
