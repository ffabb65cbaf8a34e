"""What was ordered of devices, and what they answered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, insert, select, update

from edgefleet_protocol.messages import Command, Reply

from . import pieces
from .schema import commands
from .texts import clean

_SHOWN = (
    *(column for column in commands.c if column.name != "data"),
    func.length(commands.c.data).label("data_bytes"),
)
"""Not the long answers: a list of a hundred commands would read megabytes."""


@dataclass(frozen=True)
class CommandRow:
    """One command. `ok` is None until it is answered."""

    id: int
    device: str
    epoch: str
    number: int
    action: str
    arguments: Mapping[str, str]
    actor: str
    sent_s: float
    expires_s: float
    replied_s: float | None
    ok: bool | None
    text: str | None
    facts: Mapping[str, str]
    working_s: float | None = None
    """When the device said that it had begun, and would answer once more."""
    data_bytes: int = 0
    """Of a long answer, as it is kept; 0 where there is none."""


def add(connection: Connection, command: Command, actor: str, now: float) -> int:
    """Keep a command that is about to be sent; return its id."""
    done = connection.execute(
        insert(commands).values(
            device=command.device,
            epoch=command.epoch,
            number=command.number,
            action=command.action,
            arguments=json.dumps(command.arguments),
            actor=actor,
            sent_s=now,
            expires_s=command.expires_s,
        )
    )
    return int(done.inserted_primary_key[0])  # type: ignore[index]


def last_number(connection: Connection, device: str, epoch: str) -> int:
    """Return the highest number that was given to a device in an epoch; 0 before the first."""
    query = select(func.max(commands.c.number)).where(commands.c.device == device, commands.c.epoch == epoch)
    return int(connection.execute(query).scalar_one() or 0)


def answer(connection: Connection, reply: Reply, now: float) -> bool:
    """Keep the answer to a command, or a piece of it; return False when none of that number waits for one."""
    which = (commands.c.device == reply.device, commands.c.epoch == reply.epoch, commands.c.number == reply.number)
    row = connection.execute(select(commands.c.id, commands.c.replied_s, commands.c.facts).where(*which)).first()
    if row is None or row.replied_s is not None:
        return False
    values: dict[str, object] = {"text": clean(reply.text)}
    if reply.facts:
        values["facts"] = json.dumps(reply.facts)
    if reply.more:
        values["working_s"] = now
    else:
        whole = pieces.put(connection, row.id, reply) if reply.data or reply.pieces > 1 else b""
        if whole is not None:
            values |= {"replied_s": now, "ok": reply.ok}
        if whole and pieces.unpack(whole) is None:
            values |= {"ok": False, "text": f"{clean(reply.text)} (its long part could not be unpacked)"}
        elif whole:
            values["data"] = whole
    connection.execute(update(commands).where(commands.c.id == row.id).values(**values))
    if "data" in values:
        pieces.prune(connection, reply.device)
    return True


def find(connection: Connection, device: str, number: int) -> CommandRow | None:
    """Return a command of a device by its id, or None."""
    query = select(*_SHOWN).where(commands.c.device == device, commands.c.id == number)
    row = connection.execute(query).first()
    return None if row is None else _row(row)


def latest(connection: Connection, device: str, limit: int = 100, before: int | None = None) -> tuple[CommandRow, ...]:
    """Return the commands of a device, newest first; before: only those with smaller ids."""
    query = select(*_SHOWN).where(commands.c.device == device).order_by(commands.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(commands.c.id < before)
    return tuple(_row(row) for row in connection.execute(query))


def _row(row: "Row[tuple[object, ...]]") -> CommandRow:
    return CommandRow(
        id=row.id,
        device=row.device,
        epoch=row.epoch,
        number=row.number,
        action=row.action,
        arguments=json.loads(row.arguments),
        actor=row.actor,
        sent_s=row.sent_s,
        expires_s=row.expires_s,
        replied_s=row.replied_s,
        ok=row.ok,
        text=row.text,
        facts=json.loads(row.facts or "{}"),
        working_s=row.working_s,
        data_bytes=row.data_bytes or 0,
    )
