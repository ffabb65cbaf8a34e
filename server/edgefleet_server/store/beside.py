"""A command that works on the database itself, whether a server runs over it or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from ..errors import ServerError
from .database import Database, held, make_engine, shown, take_turn
from .place import FILE


@contextmanager
def beside(place: Path | str) -> Iterator[Connection]:
    """Give one writing transaction on the database at `place`: a URL of PostgreSQL, or the folder of an SQLite file.

    A server that runs has brought the tables to its form; where none runs, that is done first. Raises ServerError for a
    database that a server of another version has.
    """
    if isinstance(place, Path) and place.name != FILE:
        place = place / FILE
    if not held(place):
        Database(place).close()
    engine = make_engine(place)
    try:
        with engine.connect() as connection:
            take_turn(connection)
            yield connection
            connection.commit()
    except DatabaseError as error:
        raise ServerError(f"the database {shown(place)} cannot be used: {error.orig}") from error
    finally:
        engine.dispose()
