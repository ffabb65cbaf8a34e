"""What devices measured, by release, variant and hardware class: back to devices, plans and the search for better variants. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from edgefleet_protocol.rollout import ClassRow

from ..store.devices import Device

Key = tuple[str, str, str]
"""Release, variant, hardware class."""
LEAST_DEVICES = 3
"""Fewer say nothing of a class: one may be hot, or on a weak supply."""
MOST_ROWS = 64
"""Of one assignment: a region's document has 64 kB for all of them."""
MOST_KEPT = 1000
"""Variants on classes, of one release. Devices choose these names, and one that makes up new ones must not fill the database."""
SAME = 0.1
"""A median that moved by less is told as before: each change is a new document for every device of every region."""


@dataclass(frozen=True)
class Learnt:
    """One variant on one class. Times are medians over its devices, memory the largest that was seen."""

    devices: int
    p50_s: float
    p95_s: float
    memory_bytes: int | None = None


def learn(fleet: Iterable[Device]) -> dict[Key, Learnt]:
    """Return what trials measured on the devices themselves, pooled by class; those in quarantine are not believed."""
    rows: dict[Key, list[tuple[float, float, int | None]]] = {}
    for device in fleet:
        if device.hardware is None or device.state is None or device.alarm is not None:
            continue
        for model in device.state.models:
            for row in model.measured:
                if row.latency_p50_s > 0:
                    key = row.release, row.variant, device.hardware.hardware_class
                    rows.setdefault(key, []).append((row.latency_p50_s, row.latency_p95_s, row.memory_bytes))
    return {key: _pooled(found) for key, found in rows.items()}


def settle(before: Mapping[Key, Learnt], fresh: Mapping[Key, Learnt]) -> dict[Key, Learnt]:
    """Return what is told from now on: `fresh`, but what hardly moved stays as it was, and what nobody has any more is kept."""
    found = dict(before)
    for key, row in fresh.items():
        old = before.get(key)
        if old is None or _moved(old, row):
            found[key] = row
        elif row.devices != old.devices:
            found[key] = replace(old, devices=row.devices)
    return found


def bounded(learnt: Mapping[Key, Learnt], releases: Collection[str]) -> dict[Key, Learnt]:
    """Return what is kept for good: of these releases alone, and of each what most devices measured, up to MOST_KEPT."""
    of: dict[str, list[Key]] = {}
    for key in sorted(learnt, key=lambda key: (-learnt[key].devices, key)):
        if key[0] in releases:
            of.setdefault(key[0], []).append(key)
    return {key: learnt[key] for keys in of.values() for key in keys[:MOST_KEPT]}


def table(learnt: Mapping[Key, Learnt], release: str, classes: Iterable[str]) -> tuple[ClassRow, ...]:
    """Return the class table of a release: for these classes, where enough devices measured, in two digits."""
    wanted = set(classes)
    rows = [
        ClassRow(variant=variant, hardware_class=name, p50_s=_two_digits(row.p50_s), devices=_about(row.devices))
        for (of, variant, name), row in learnt.items()
        if of == release and name in wanted and row.devices >= LEAST_DEVICES
    ]
    return tuple(sorted(rows, key=lambda row: (row.hardware_class, row.variant))[:MOST_ROWS])


@dataclass(frozen=True)
class Missing:
    """A variant that is wished for: no variant of a release fits these devices of a class, and why."""

    region: str
    release: str
    hardware_class: str
    devices: int
    why: str
    memory_bytes: int
    """The least that one of them has."""
    arch: str


def missing(region: str, release: str, left_out: Mapping[str, str], fleet: Iterable[Device]) -> tuple[Missing, ...]:
    """Return what is wished for, most devices first. left_out: by device, why no variant fits it."""
    found: dict[tuple[str, str], Missing] = {}
    for device in fleet:
        why, hardware = left_out.get(device.id), device.hardware
        if why is None or hardware is None:
            continue
        key = hardware.hardware_class, why
        known = found.get(key)
        least = hardware.memory_bytes if known is None else min(known.memory_bytes, hardware.memory_bytes)
        many = 1 if known is None else known.devices + 1
        found[key] = Missing(region, release, hardware.hardware_class, many, why, least, hardware.arch)
    return tuple(sorted(found.values(), key=lambda row: (-row.devices, row.hardware_class, row.why)))


def _pooled(rows: list[tuple[float, float, int | None]]) -> Learnt:
    memory = [bytes_ for _, _, bytes_ in rows if bytes_ is not None]
    return Learnt(
        devices=len(rows),
        p50_s=_median([p50 for p50, _, _ in rows]),
        p95_s=_median([p95 for _, p95, _ in rows]),
        memory_bytes=max(memory) if memory else None,
    )


def _median(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def _moved(old: Learnt, new: Learnt) -> bool:
    if old.devices < LEAST_DEVICES <= new.devices:
        return True
    # Not the logarithm of their ratio: of the smallest over the largest that a device may tell, that is of nothing.
    return abs(math.log(new.p50_s) - math.log(old.p50_s)) > SAME


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def _about(devices: int) -> int:
    """One digit: the table must not change because one device came."""
    return int(float(f"{devices:.0e}")) if devices >= 10 else LEAST_DEVICES
