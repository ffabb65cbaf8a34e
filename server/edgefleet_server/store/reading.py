"""One moment of the database for a command that only reads, whether a server runs over it or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from ..errors import ServerError
from .database import Database, held, make_engine, shown


@contextmanager
def reading(place: Path | str) -> Iterator[Connection]:
    """Give a connection that sees one moment of the database at `place`, and holds up nobody.

    Where no server runs, the database is brought to this version's form first. Raises ServerError for one that cannot be read.
    """
    if not held(place):
        Database(place).close()
    engine = make_engine(place)
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise ServerError(f"the database {shown(place)} cannot be read: {error.orig}") from error
    finally:
        engine.dispose()
