"""A command that works on the database itself, whether a server runs over it or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from ..errors import ServerError
from .database import Database, held, make_engine


@contextmanager
def beside(data: Path) -> Iterator[Connection]:
    """Give one writing transaction on the database below `data`.

    A server that runs has brought the tables to its form; where none runs, that is done first. Raises ServerError for a
    database that a server of another version has.
    """
    path = data / "server.sqlite3"
    if not held(path):
        Database(path).close()
    engine = make_engine(path)
    try:
        with engine.connect() as connection:
            # A writer from its first word on: one that began by reading would fail where the server has written since.
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
    except DatabaseError as error:
        raise ServerError(f"the database {path} cannot be used: {error.orig}") from error
    finally:
        engine.dispose()
