"""Keeps what classes of devices measured, and says which table goes with a release."""

from collections.abc import Iterable, Mapping

from edgefleet_protocol.rollout import ClassRow

from ..store import measurements, releases
from ..store.database import Database
from ..store.devices import Device
from .learning import Key, Learnt, bounded, learn, settle, table


class Learner:
    """One for the controller. What it knows is read from the database when it is first asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._learnt: dict[Key, Learnt] | None = None
        self._classes: Mapping[str, frozenset[str]] = {}

    def look(self, fleet: Iterable[Device], listed: Iterable[str], now: float) -> None:
        """Take in what the devices say now. listed: releases; of those and of the ones that were listed once it is kept."""
        devices = tuple(fleet)
        before = self.learnt
        with self._database.read() as connection:
            known = {*listed, *releases.seen(connection)}
        after = bounded(settle(before, learn(devices)), known)
        changed = {key: row for key, row in after.items() if before.get(key) != row}
        gone = before.keys() - after.keys()
        if changed or gone:
            with self._database.write() as connection:
                measurements.put(connection, changed, now)
                measurements.drop(connection, gone)
        self._learnt = after
        self._know(devices)

    def follow(self, fleet: Iterable[Device]) -> None:
        """Take in what another process learnt: nothing is written."""
        with self._database.read() as connection:
            self._learnt = measurements.every(connection)
        self._know(fleet)

    def _know(self, devices: Iterable[Device]) -> None:
        classes: dict[str, set[str]] = {}
        for device in devices:
            if device.region is not None and device.hardware is not None:
                classes.setdefault(device.region, set()).add(device.hardware.hardware_class)
        self._classes = {region: frozenset(names) for region, names in classes.items()}

    @property
    def learnt(self) -> dict[Key, Learnt]:
        """By release, variant and class."""
        if self._learnt is None:
            with self._database.read() as connection:
                self._learnt = measurements.every(connection)
        return self._learnt

    def table(self, release: str, region: str) -> tuple[ClassRow, ...]:
        """Return what devices of the region are told of a release."""
        return table(self.learnt, release, self._classes.get(region, ()))
