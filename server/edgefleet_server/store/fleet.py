"""The devices as the controller looks at them: of thousands only those are read whole that changed since the last look."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from .devices import Device, device_of_row
from .schema import devices

OVERLAP_S = 5.0
"""Transactions end in another order than their clocks were read: what was written so shortly before is read again."""
AT_ONCE = 400


class Fleet:
    """Remembers devices between looks. `version` rises whenever one changed in more than when it was last heard of."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}
        self._stamps: dict[str, tuple[Any, ...]] = {}
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._newest_s = float("-inf")
        self._by_region: dict[str | None, tuple[Device, ...]] = {}
        self.version = 0

    def look(self, connection: Connection) -> None:
        """Bring it up to date."""
        columns = devices.c
        query = select(
            columns.id, columns.online, columns.last_seen_s, columns.session, columns.state_at_s, columns.assigned_number,
            columns.alarm,
        ).order_by(columns.id)  # fmt: skip
        rows = connection.execute(query).all()
        changed = len(rows) != len(self._devices)
        wanted: list[str] = []
        since_s, newest_s = self._newest_s - OVERLAP_S, self._newest_s
        for row in rows:
            stamp = (row.state_at_s, row.session, row.assigned_number, row.alarm)
            recent = row.state_at_s is not None and row.state_at_s >= since_s
            if recent and row.state_at_s > newest_s:
                newest_s = row.state_at_s
            if recent or self._stamps.get(row.id) != stamp:
                wanted.append(row.id)
                self._stamps[row.id] = stamp
        fresh = self._read(connection, wanted)
        found: dict[str, Device] = {}
        for row in rows:
            known, new = self._devices.get(row.id), fresh.get(row.id)
            if new is not None:
                changed = True
                known = new
            if known is None:
                continue  # it was forgotten between the two questions
            changed = changed or known.online != row.online
            found[row.id] = _heard(known, row.online, row.last_seen_s)
        self._stamps = {name: self._stamps[name] for name in found}
        self._seen = {name: self._seen[name] for name in found}
        self._newest_s = newest_s
        self._devices = found
        self._by_region = {}
        self.version += changed

    def of(self, region: str) -> tuple[Device, ...]:
        """Return the devices of a region, by name."""
        if not self._by_region:
            groups: dict[str | None, list[Device]] = {}
            for device in self._devices.values():
                groups.setdefault(device.region, []).append(device)
            self._by_region = {name: tuple(rows) for name, rows in groups.items()}
        return self._by_region.get(region, ())

    def every(self) -> tuple[Device, ...]:
        """Return all devices, by name."""
        return tuple(self._devices.values())

    def _read(self, connection: Connection, names: Sequence[str]) -> dict[str, Device]:
        """Return those of `names` that are not as they were: bytes are compared, which costs less than to read them."""
        found: dict[str, Device] = {}
        for start in range(0, len(names), AT_ONCE):
            query = select(devices).where(devices.c.id.in_(names[start : start + AT_ONCE]))
            for row in connection.execute(query).mappings():
                known = self._devices.get(row["id"])
                if known is None or known.state_bytes != row["state"] or self._seen.get(row["id"]) != _stamp(row):
                    found[row["id"]] = device_of_row(row)
                    self._seen[row["id"]] = _stamp(row)
        return found


def _heard(known: Device, online: bool, last_seen_s: float | None) -> Device:
    if known.online == online and known.last_seen_s == last_seen_s:
        return known
    return replace(known, online=online, last_seen_s=last_seen_s)


def _stamp(row: RowMapping) -> tuple[Any, ...]:
    """What changes with everything that is not in the state."""
    return row["session"], row["assigned_number"], row["alarm"]
