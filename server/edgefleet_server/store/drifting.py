"""Drift of every variant in every region: the last hours against its own first good day there."""

import threading
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection

from edgefleet_protocol.sketch import Sketch

from ..telemetry.cells import DAY_S, HOUR_S
from ..telemetry.drift import ENOUGH, Drift, drift
from ..telemetry.packed import Pile, unpack
from . import rollup_reads
from .rollup_reads import Stretch
from .rollups import HOUR, REGION_VERSION

RECENT_HOURS = 24
"""At most so many are merged, the newest first, until there are enough answers."""
FIRST_DAYS = 14
"""Among so many the first good one is looked for."""
FRESH_S = 60.0
"""What was found is good for so long: it is decided by hours."""
BAD_SHARE = 0.05
"""Of requests that failed: such a day is no reference."""


class Variant(NamedTuple):
    """One variant of a release in a region."""

    region: str
    model: str
    release: str
    variant: str


class Standing(NamedTuple):
    """How a variant stands now."""

    drift: Drift
    reference_s: int | None
    """Where its day of reference begins; None: there is none yet."""


class _Reference(NamedTuple):
    start_s: int
    confidence: Sketch


class Drifting:
    """Looks at a database; what a day of reference counted is remembered, for it does not change any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Variant, _Reference] = {}
        self._looked: dict[str, tuple[float, dict[Variant, Standing]]] = {}

    def look(self, connection: Connection, now: float, regions: Collection[str]) -> dict[Variant, Standing]:
        """Return every variant that answered within RECENT_HOURS in `regions`, at most FRESH_S old."""
        with self._lock:
            looked = {
                region: row
                for region in regions
                if (row := self._looked.get(region)) is not None and 0 <= now - row[0] < FRESH_S
            }
        if stale := set(regions) - set(looked):
            fresh = self._read(connection, now, stale)
            looked |= {region: (now, fresh.get(region, {})) for region in stale}
            with self._lock:
                self._looked |= {region: looked[region] for region in stale}
        return {key: one for _, found in looked.values() for key, one in found.items()}

    def _read(self, connection: Connection, now: float, regions: Collection[str]) -> dict[str, dict[Variant, Standing]]:
        hour_s = int(now // HOUR_S) * HOUR_S
        span = Stretch(HOUR, hour_s - (RECENT_HOURS - 1) * HOUR_S, hour_s + HOUR_S)
        by_variant: dict[Variant, list[tuple[int, bytes]]] = {}
        for row in rollup_reads.of_models(connection, span, REGION_VERSION, regions, rollup_reads.CONFIDENCE):
            if row.confidence is not None:
                key = Variant(row.region, row.model, row.release, row.variant)
                by_variant.setdefault(key, []).append((row.start_s, row.confidence))
        found: dict[str, dict[Variant, Standing]] = {}
        for key, hours in by_variant.items():
            found.setdefault(key.region, {})[key] = self._stand(connection, key, hours, now)
        return found

    def _stand(self, connection: Connection, key: Variant, hours: list[tuple[int, bytes]], now: float) -> Standing:
        reference = self._reference(connection, key, now)
        pile, count = Pile(), 0
        for start_s, confidence in sorted(hours, reverse=True):
            # What is part of the reference says nothing against it.
            if count >= ENOUGH or (reference is not None and start_s < reference.start_s + DAY_S):
                break
            pile.add_packed(confidence)
            count = pile.count
        found = drift(reference.confidence if reference else Sketch(), pile.sketch())
        return Standing(found, reference.start_s if reference else None)

    def _reference(self, connection: Connection, key: Variant, now: float) -> _Reference | None:
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        for row in rollup_reads.days_of(connection, *key, limit=FIRST_DAYS):
            if row.start_s + DAY_S > now or row.confidence is None:
                continue  # the day is not over: it would be compared with itself
            confidence = unpack(row.confidence)
            if confidence.count >= ENOUGH and row.errors <= BAD_SHARE * row.requests:
                found = _Reference(row.start_s, confidence)
                with self._lock:
                    self._known[key] = found
                return found
        return None
