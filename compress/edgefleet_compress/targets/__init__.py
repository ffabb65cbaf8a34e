"""Targets: what is known of the hardware classes of a fleet, and the time that a model is expected to need on each."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomllib

from edgefleet_protocol.hardware import class_of
from edgefleet_protocol.manifest import LatencyRow, Requirement

from ..errors import RecipeError
from ..measure import Measures
from .systems import System

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
    systems: tuple[System, ...] = ()
    """Operating systems that are common on it."""

    def can_run(self, needs: Requirement) -> bool:
        """Return whether devices of this class have the processor and the instruction sets that a variant needs."""
        return (not needs.arch or self.arch in needs.arch) and set(needs.features) <= set(self.features)

    def latency_s(self, measures: Measures) -> float:
        """Return the seconds that one inference is expected to take, one thread."""
        arithmetic = measures.fp32_macs / self.fp32_macs_per_s + measures.int8_macs / self.int8_macs_per_s
        return arithmetic + measures.arm_nodes * self.per_operator_s


_own: list[Path] = []
"""The folder of the user's own boards, once `use_folder` has read it."""


def use_folder(folder: Path) -> None:
    """Add the boards of a folder, one TOML file each, to those that are known; raise RecipeError for a bad file.

    A file that is called as a known board takes its place.
    """
    if not folder.is_dir():
        raise RecipeError(f"{folder} is no folder of boards; --targets takes one with a .toml file for each board")
    _own[:] = [folder]
    targets.cache_clear()
    try:
        targets()
    except RecipeError:
        _own.clear()
        targets.cache_clear()
        raise


@cache
def targets() -> tuple[Target, ...]:
    """Return all targets, by name."""
    found = {}
    for place in (files(__package__), *_own):
        for file in place.iterdir():
            if file.name.endswith(".toml"):
                name = file.name.removesuffix(".toml")
                found[name] = _read(name, file.read_text(), str(file))
    return tuple(found[name] for name in sorted(found))


def _read(name: str, text: str, where: str) -> Target:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not TOML: {error}") from error
    _check(settings, Target, where, {"name"})
    for entry in settings.get("systems", []):
        _check(entry, System, f"{where}: systems", set())
    systems = tuple(System(**entry) for entry in settings.get("systems", []))
    made = Target(name=name, **(settings | {"features": tuple(settings["features"]), "systems": systems}))
    for rate in ("memory_bytes", "fp32_macs_per_s", "int8_macs_per_s", "per_operator_s"):
        if isinstance(value := getattr(made, rate), bool) or not isinstance(value, int | float) or value <= 0:
            raise RecipeError(f"{where}: {rate} is a number above 0, not {value!r}")
    return made


def _check(settings: Mapping[str, Any], kind: type, where: str, given: set[str]) -> None:
    known = {field.name for field in fields(kind)} - given
    needed = known - {"systems"}
    if unknown := sorted(set(settings) - known):
        raise RecipeError(f"{where}: there is no key {unknown[0]!r}; there are {', '.join(sorted(known))}")
    if missing := sorted(needed - set(settings)):
        raise RecipeError(f"{where}: the key {missing[0]!r} is missing")


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
    """Return what was measured here for this machine's class, and a prediction for every other that can run it.

    Nothing for a GPU: these are the processors' figures.
    """
    if needs.provider != Requirement().provider:
        return ()
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
