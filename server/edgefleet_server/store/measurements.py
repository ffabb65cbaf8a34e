"""What classes of devices measured, kept also when the devices are gone."""

import msgspec
from sqlalchemy import Connection, func, select

from ..rollouts.learning import Key, Learnt
from .dialect import insert
from .schema import devices, measurements, model_windows


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


def served(connection: Connection, since_s: float) -> dict[Key, tuple[int, int, float | None, int | None]]:
    """Return what was measured under load since then: requests, errors, mean p50 in seconds, and the most memory in bytes."""
    columns = model_windows.c
    query = (
        select(
            columns.release,
            columns.variant,
            devices.c.hardware_class,
            func.sum(columns.requests),
            func.sum(columns.errors),
            func.avg(columns.p50_s),
            func.max(columns.memory_bytes),
        )
        .select_from(model_windows.join(devices, devices.c.id == columns.device))
        .where(columns.placed_s >= since_s, columns.requests > 0, devices.c.hardware_class.is_not(None))
        .group_by(columns.release, columns.variant, devices.c.hardware_class)
    )
    return {
        (release, variant, name): (int(requests), int(errors), p50, memory)
        for release, variant, name, requests, errors, p50, memory in connection.execute(query)
    }
