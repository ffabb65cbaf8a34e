"""Devices that were compared before and after a switch, each once a rollout; and the windows that this is read from."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, Table, select

from ..rollouts.pairs import Pair, Seen
from ..telemetry.packed import unpack
from ..telemetry.stored import Counts, facts_told, models_told
from .dialect import insert
from .schema import comparison_drifts, comparisons, later_comparisons, windows

AT_ONCE = 200
"""Devices to a query."""


def add(connection: Connection, rollout: int, pairs: Collection[Pair], *, later: bool = False) -> None:
    """Keep what was compared; who was compared already stays as it is. later: by what came later, beside the first time."""
    rows = [
        {"rollout": rollout, "device": pair.device, "at_s": pair.at_s, "facts": msgspec.json.encode(pair)}
        for pair in pairs
    ]
    if rows:
        statement = insert(connection, _table(later)).on_conflict_do_nothing(index_elements=["rollout", "device"])
        connection.execute(statement, rows)


def of(connection: Connection, rollout: int, *, later: bool = False) -> tuple[Pair, ...]:
    """Return what was compared, in the order in which it was measured."""
    columns = _table(later).c
    query = select(columns.facts).where(columns.rollout == rollout)
    rows = connection.execute(query.order_by(columns.at_s, columns.device))
    return tuple(msgspec.json.decode(row.facts, type=Pair) for row in rows)


def put_drifts(connection: Connection, rollout: int, drifts: Collection[float]) -> None:
    """Keep by how much latency changed meanwhile on devices that kept the model before, over what was seen last."""
    facts = {"facts": msgspec.json.encode(drifts)}
    statement = insert(connection, comparison_drifts).values(rollout=rollout, **facts)
    connection.execute(statement.on_conflict_do_update(index_elements=["rollout"], set_=facts))


def drifts(connection: Connection, rollout: int) -> tuple[float, ...]:
    """Return what was kept last; nothing while nobody had to ask."""
    facts = connection.execute(select(comparison_drifts.c.facts).where(comparison_drifts.c.rollout == rollout)).scalar()
    return () if facts is None else msgspec.json.decode(facts, type=tuple[float, ...])


def _table(later: bool) -> Table:
    return later_comparisons if later else comparisons


def seen(
    connection: Connection, devices: Collection[str], model: str, since_s: float, *, power: bool = False
) -> dict[str, list[Seen]]:
    """Return the windows of one model on some devices, from `since_s` on, by device.

    power: also what one request cost in energy, where the device measures its power.
    """
    found: dict[str, list[Seen]] = {device: [] for device in devices}
    columns = windows.c
    wanted = [columns.device, columns.placed_s, columns.seconds, columns.facts, columns.models]
    names = sorted(found)
    for start in range(0, len(names), AT_ONCE):
        query = (
            select(*wanted)
            .where(columns.device.in_(names[start : start + AT_ONCE]), columns.placed_s >= since_s)
            .order_by(columns.device, columns.placed_s)
        )
        for row in connection.execute(query):
            for counts in models_told(row.models):
                if counts.model == model:
                    energy_j = _energy(row.facts, row.seconds, counts.requests) if power else None
                    found[row.device].append(_seen(row.placed_s, row.seconds, counts, energy_j))
    return found


def served(
    connection: Connection, devices: Collection[str], model: str, release: str, since_s: float
) -> dict[str, list[tuple[float, int]]]:
    """Return by device when a release served, and how many requests in each of its windows from `since_s` on, oldest first."""
    found: dict[str, list[tuple[float, int]]] = {device: [] for device in devices}
    columns, names = windows.c, sorted(found)
    for start in range(0, len(names), AT_ONCE):
        query = (
            select(columns.device, columns.placed_s, columns.models)
            .where(
                columns.device.in_(names[start : start + AT_ONCE]), columns.placed_s >= since_s, columns.requests > 0
            )
            .order_by(columns.device, columns.placed_s)
        )
        for row in connection.execute(query):
            requests = sum(
                counts.requests
                for counts in models_told(row.models)
                if (counts.model, counts.release) == (model, release)
            )
            if requests > 0:
                found[row.device].append((row.placed_s, requests))
    return found


def _seen(placed_s: float, seconds: float, counts: Counts, energy_j: float | None) -> Seen:
    return Seen(
        placed_s=placed_s,
        seconds=seconds,
        release=counts.release,
        requests=counts.requests,
        errors=counts.errors,
        latency=unpack(counts.latency),
        memory_bytes=counts.memory_bytes,
        confidence=None if counts.confidence is None else unpack(counts.confidence),
        energy_j=energy_j,
    )


def rates(connection: Connection, devices: Collection[str], model: str, since_s: float) -> dict[str, float]:
    """Return requests in a second by device, over the windows from `since_s` on; devices without windows are left out."""
    totals: dict[str, tuple[int, float]] = {}
    for device, rows in seen(connection, devices, model, since_s).items():
        for row in rows:
            requests, seconds = totals.get(device, (0, 0.0))
            totals[device] = requests + row.requests, seconds + row.seconds
    return {device: requests / seconds for device, (requests, seconds) in totals.items() if seconds}


def _energy(facts: bytes, seconds: float, requests: int) -> float | None:
    power = facts_told(facts).power_w
    return None if power is None or not requests else power * seconds / requests
