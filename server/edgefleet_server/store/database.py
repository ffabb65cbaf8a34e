"""One SQLite file, many threads: readers as they like, writers one at a time.

SQLite has a single writer whatever we do; a lock of our own makes threads wait their turn instead of failing with
"database is locked" when a transaction that began by reading wants to write.
"""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from ..errors import ServerError
from .migrate import upgrade

__all__ = ["Connection", "Database", "Unavailable", "make_engine"]

Unavailable = OperationalError
"""The database cannot do it now: a full disk, a locked file. What it will never do raises something else."""

BUSY_MS = 10_000
"""For another process that holds the file, such as a backup."""


class Database:
    """The server's memory. Opening it brings the tables to this version's form.

    Raises ServerError when another server has it, or when the file is no database that can be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._held = _hold(path.with_suffix(".lock"))
        self.engine = make_engine(path)
        self._writer = threading.Lock()
        self._next = threading.Lock()
        """Held by who waits for `_writer`. A lock alone is not fair: whoever stores one batch after the other took it again
        before the rollout controller, which waited for it, could."""
        try:
            upgrade(self.engine)
        except DatabaseError as error:
            self.close()
            raise ServerError(
                f"the database {path} cannot be used: {error.orig}. Is it a file of this server, and may it be written?"
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: all of it is stored when the block ends, or nothing when it raises."""
        with self._next:
            self._writer.acquire()
        try:
            with self.engine.begin() as connection:
                yield connection
        finally:
            self._writer.release()

    def close(self) -> None:
        """Close every connection, and let another server have it."""
        self.engine.dispose()
        self._held.close()


def held(path: Path) -> bool:
    """Return whether a server has the database at `path` now."""
    try:
        _hold(path.with_suffix(".lock")).close()
    except FileNotFoundError:
        return False
    except ServerError:
        return True
    return False


def _hold(path: Path) -> IO[bytes]:
    """Two servers over one database would take the broker's connection from each other, and both would sign."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ServerError(
            f"another server runs with {path.parent}: end that one, or name another `data` folder"
        ) from error
    return file


def make_engine(path: Path) -> Engine:
    """Return an engine for the file at `path`, in WAL mode."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver's own would begin transactions too late for savepoints
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # NORMAL may lose the last commits to a power cut but never the file; the hub acknowledges a message only after
        # its commit, and devices assert their states again, so what is lost comes back.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
