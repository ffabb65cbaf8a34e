"""Who asked to come in, by which token and key, and what became of it."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, func, select, update

from .dialect import insert
from .schema import enrolments

Status = Literal["waiting", "approved", "rejected", "issued"]


@dataclass(frozen=True)
class Enrolment:
    """One key that came with one token."""

    token: str
    public_key: str
    device: str
    hardware_serial: str | None
    region: str
    status: Status
    first_s: float
    last_s: float


def find(connection: Connection, token: str, public_key: str) -> Enrolment | None:
    """Return what became of a key that came with a token, or None."""
    return _first(connection, (enrolments.c.token == token) & (enrolments.c.public_key == public_key))


def put(connection: Connection, row: Enrolment) -> None:
    """Keep `row`; of one that is there, the state and the time."""
    statement = insert(connection, enrolments).values(**vars(row))
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["token", "public_key"], set_={"status": row.status, "last_s": row.last_s}
        )
    )


def used(connection: Connection, token: str) -> int:
    """Return how many keys a token has let in, those that wait included."""
    query = select(func.count()).where((enrolments.c.token == token) & (enrolments.c.status != "rejected"))
    return int(connection.execute(query).scalar_one())


def of_board(connection: Connection, token: str, hardware_serial: str) -> Enrolment | None:
    """Return the enrolment of a board by a token, or None."""
    where = (enrolments.c.token == token) & (enrolments.c.hardware_serial == hardware_serial)
    return _first(connection, where & (enrolments.c.status != "rejected"))


def waiting(connection: Connection, device: str | None = None) -> tuple[Enrolment, ...]:
    """Return those that wait for somebody's yes, the oldest first; of one device, or of all."""
    where: Any = enrolments.c.status == "waiting"
    if device is not None:
        where &= enrolments.c.device == device
    query = select(enrolments).where(where).order_by(enrolments.c.first_s)
    return tuple(_row(row) for row in connection.execute(query).mappings())


def judge(connection: Connection, row: Enrolment, status: Status) -> None:
    """Keep what somebody said of one that waits."""
    connection.execute(
        update(enrolments)
        .where((enrolments.c.token == row.token) & (enrolments.c.public_key == row.public_key))
        .values(status=status)
    )


def of_token(connection: Connection, token: str) -> tuple[Enrolment, ...]:
    """Return everybody who came with a token, the first first."""
    query = select(enrolments).where(enrolments.c.token == token).order_by(enrolments.c.first_s)
    return tuple(_row(row) for row in connection.execute(query).mappings())


def _first(connection: Connection, where: Any) -> Enrolment | None:
    row = connection.execute(select(enrolments).where(where).limit(1)).mappings().first()
    return None if row is None else _row(row)


def _row(row: RowMapping) -> Enrolment:
    return Enrolment(**dict(row))
