"""What classes of devices measured, kept also when the devices are gone."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, delete, select

from ..rollouts.learning import Key, Learnt
from ..telemetry.cells import ModelCell
from . import rollup_reads
from .dialect import insert
from .rollups import HOUR
from .schema import measurements


def every(connection: Connection) -> dict[Key, Learnt]:
    """Return all of it."""
    return {
        (row.release, row.variant, row.hardware_class): msgspec.json.decode(row.facts, type=Learnt)
        for row in connection.execute(select(measurements))
    }


def put(connection: Connection, rows: dict[Key, Learnt], now: float) -> None:
    """Keep these rows in place of those of the same release, variant and class."""
    for (release, variant, hardware_class), row in rows.items():
        values = {"devices": row.devices, "facts": msgspec.json.encode(row), "updated_s": now}
        statement = insert(connection, measurements).values(
            release=release, variant=variant, hardware_class=hardware_class, **values
        )
        keys = ["release", "variant", "hardware_class"]
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def drop(connection: Connection, keys: Iterable[Key]) -> None:
    """Remove these rows."""
    columns = measurements.c
    for release, variant, hardware_class in keys:
        connection.execute(
            delete(measurements).where(
                columns.release == release,
                columns.variant == variant,
                columns.hardware_class == hardware_class,
            )
        )


def served(connection: Connection, since_s: float) -> dict[Key, tuple[int, int, float | None, int | None]]:
    """Return what was measured under load in the hours since then: requests, errors, p50 in seconds, and the most memory in bytes."""
    found: dict[Key, ModelCell] = {}
    for row in rollup_reads.by_class(connection, HOUR, since_s):
        if row.requests and row.hardware_class:
            cell = found.setdefault((row.release, row.variant, row.hardware_class), ModelCell())
            cell.requests, cell.errors = cell.requests + row.requests, cell.errors + row.errors
            if row.memory_max_bytes is not None:
                cell.memory.add(row.memory_max_bytes)
            cell.latency.add_packed(row.latency)
    return {
        key: (
            cell.requests,
            cell.errors,
            cell.latency.quantiles(0.5)[0],
            int(cell.memory.most) if cell.memory.n else None,
        )
        for key, cell in found.items()
    }
