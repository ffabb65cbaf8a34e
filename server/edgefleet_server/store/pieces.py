"""Answers that are longer than one message: their pieces until all are here, then the whole."""

import zlib

from sqlalchemy import Connection, delete, func, select

from edgefleet_protocol.messages import MAX_ANSWER_BYTES, Reply

from .dialect import insert
from .schema import command_pieces, commands

KEPT_ANSWERS = 20
"""Long answers kept of one device; an older one is removed, and what it said in short stays."""


def put(connection: Connection, command: int, reply: Reply) -> bytes | None:
    """Keep one piece, in whatever order they come; return the whole once all are here, else None."""
    statement = insert(connection, command_pieces).values(command=command, piece=reply.piece, data=reply.data)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["command", "piece"]))
    if count(connection, command) < reply.pieces:
        return None
    query = select(command_pieces.c.data).where(command_pieces.c.command == command).order_by(command_pieces.c.piece)
    whole = b"".join(row.data for row in connection.execute(query))
    connection.execute(delete(command_pieces).where(command_pieces.c.command == command))
    return whole


def count(connection: Connection, command: int) -> int:
    """Return how many pieces are here of an answer that is not whole yet."""
    query = select(func.count()).select_from(command_pieces).where(command_pieces.c.command == command)
    return int(connection.execute(query).scalar_one())


def unpack(data: bytes) -> str | None:
    """Return the text that `data` is, or None when it is none, or longer than an answer may be."""
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, MAX_ANSWER_BYTES)
        if not reader.eof:
            return None
        return text.decode("utf-8", "replace")
    except zlib.error:
        return None


def read(connection: Connection, device: str, number: int) -> str | None:
    """Return the long answer to a command, by its id; None where there is none."""
    query = select(commands.c.data).where(commands.c.device == device, commands.c.id == number)
    data = connection.execute(query).scalar_one_or_none()
    return None if data is None else unpack(data)


def prune(connection: Connection, device: str) -> None:
    """Remove the long answers of one device beyond the newest."""
    query = (
        select(commands.c.id)
        .where(commands.c.device == device, commands.c.data.is_not(None))
        .order_by(commands.c.id.desc())
        .offset(KEPT_ANSWERS)
        .limit(1_000)
    )
    old = [row.id for row in connection.execute(query)]
    if old:
        connection.execute(commands.update().where(commands.c.id.in_(old)).values(data=None))


def forget(connection: Connection, device: str) -> None:
    """Remove what is left of one device."""
    mine = select(commands.c.id).where(commands.c.device == device)
    connection.execute(delete(command_pieces).where(command_pieces.c.command.in_(mine)))
