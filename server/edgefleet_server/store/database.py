"""The server's memory: one SQLite file, or a PostgreSQL database. Readers as they like, writers one at a time.

SQLite has a single writer whatever we do; a lock of our own makes threads wait their turn instead of failing with
"database is locked" when a transaction that began by reading wants to write. In PostgreSQL the same turn is a lock in the
database, so that it holds between processes too: what decides by what it has read stays right. Only telemetry goes beside it.
"""

import contextlib
import fcntl
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    OperationalError,
    PendingRollbackError,
    ResourceClosedError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import BadConfig, ServerError
from .migrate import form_of, own_forms, upgrade
from .outage import Outage, passes

LOG = logging.getLogger(__name__)

__all__ = ["Connection", "Database", "Unavailable", "make_engine", "of_the_database"]

Unavailable = OperationalError
"""The database cannot do it now: a full disk, a locked file, a server that is away. What it will never do raises something else."""


def of_the_database(error: Exception) -> bool:
    """Return whether it is the database's fault, and not that of what it was given to store."""
    return isinstance(error, DatabaseError) and not isinstance(error, DataError)


BUSY_MS = 10_000
"""For another process that holds the file, such as a backup, or a table of PostgreSQL."""
SERVER, WRITER = 0xED6E0001, 0xED6E0002
"""Advisory locks in PostgreSQL: held by the one server; by who writes."""
HELPER = 0xED6E0100
"""And, with its number added, by each further ingest process."""
CONNECT_TIMEOUT_S = 10
Beside = Literal["ingest", "api"]
_ENOUGH: dict[Beside, str] = {
    "ingest": "One process takes all that one file can",
    "api": "The server itself answers the API over one file, and a copy to look at is what edgefleet server backup makes",
}
_WHO_HAS_IT = (
    "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database() "
    f"WHERE l.locktype = 'advisory' AND l.granted AND (l.classid::bigint << 32) + l.objid::bigint = {SERVER}"
)


class Database:
    """The server's memory. Opening it brings the tables to this version's form.

    Raises ServerError when another server has it, or when it is no database that can be written.
    """

    def __init__(self, place: Path | str, *, helper: Beside | None = None) -> None:
        """place: an SQLite file, or a URL of PostgreSQL.

        helper: a process beside the server, which takes telemetry (`ingest`) or answers the API (`api`): it neither has the
        database for itself nor changes its form. PostgreSQL alone can have one.
        """
        if helper is not None and isinstance(place, Path):
            raise BadConfig(
                "SQLite has one writer, and a second process would only wait for the first: name a PostgreSQL database in "
                f"server.toml ([database] url) to run further processes. {_ENOUGH[helper]}"
            )
        self.place = place
        self._writer = threading.Lock()
        self._next = threading.Lock()
        """Held by who waits for `_writer`. A lock alone is not fair: whoever stores one batch after the other took it again
        before the rollout controller, which waited for it, could."""
        self._helper = helper is not None
        self.outage = Outage()
        """What is said of a database that refuses, by everybody who uses this one."""
        self._held: IO[bytes] | Connection | None = None
        self._take: Callable[[], Connection]
        """Takes the lock that is this process's to hold in PostgreSQL; set where there is one."""
        self._holding = threading.Lock()
        self._closed = False
        if isinstance(place, Path):
            place.parent.mkdir(parents=True, exist_ok=True)
            self._held = _hold(place.with_suffix(".lock"))
        self.engine = make_engine(place)
        try:
            if helper:
                self.check_form()
            else:
                if isinstance(place, str):
                    self._take = lambda: _hold_server(self.engine, place)
                    self._held = self._take()
                upgrade(self.engine)
        except DatabaseError as error:
            self.close()
            ask = "Is it a file of this server, and may it be written?" if isinstance(place, Path) else "Does it run?"
            raise ServerError(f"the database {shown(place)} cannot be used: {error.orig}. {ask}") from error
        except BaseException:
            self.close()
            raise

    def hold_number(self, number: int) -> None:
        """Have helper `number` for this process alone; raise ServerError when another has it."""
        place = self.place
        assert isinstance(place, str) and self._held is None
        self._take = lambda: _hold_postgresql(
            self.engine,
            HELPER + number,
            f"another ingest process has number {number} at {shown(place)}, and the broker would end the one's connection "
            "for the other's, again and again: give this one another --number, or end that one",
        )
        try:
            self._held = self._take()
        except DatabaseError as error:
            raise ServerError(f"the database {shown(self.place)} cannot be used: {error.orig}. Does it run?") from error

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database."""
        with self._passing(), self.engine.connect() as connection:
            if self.is_postgresql:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: all of it is stored when the block ends, or nothing when it raises. One at a time, in every process."""
        with self._turn(), self._passing(), self.engine.begin() as connection:
            if self.is_postgresql:
                self._stay_the_only_one()
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the turn to write, in the order in which it was asked for."""
        with self._next:
            self._writer.acquire()
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def append(self) -> Iterator[Connection]:
        """A transaction that adds telemetry and decides by nothing else: in PostgreSQL beside all others."""
        if self.is_postgresql:
            with self._passing(), self.engine.begin() as connection:
                if self._helper:
                    self._stay_the_only_one()
                yield connection
        else:
            with self.write() as connection:
                yield connection

    def size_bytes(self) -> int:
        """Return how large it is on disk, with its log where that is a file of its own."""
        if isinstance(self.place, Path):
            return sum(path.stat().st_size for path in self.place.parent.glob(f"{self.place.name}*") if path.is_file())
        with self.read() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())

    def close(self) -> None:
        """Close every connection, and let another server have it. Closing it again changes nothing."""
        held, self._held, self._closed = self._held, None, True
        if held is not None:
            # Said, not left to the end of the connection, which PostgreSQL notices a moment later: who starts anew is let in at once.
            if isinstance(held, Connection):
                with contextlib.suppress(SQLAlchemyError):
                    held.exec_driver_sql("SELECT pg_advisory_unlock_all()")
            with contextlib.suppress(SQLAlchemyError):
                held.close()
        self.engine.dispose()

    def _stay_the_only_one(self) -> None:
        """Take the lock again when its connection was lost, as by a restart of PostgreSQL: the server's, or a helper's number."""
        if self._closed:  # a thread that outlived its server must not write beside the next one
            raise OperationalError("this server has let the database go", None, ServerError("closed"))
        if not isinstance(self._held, Connection):
            return
        with self._holding:
            try:
                self._held.exec_driver_sql("SELECT 1")
                return
            except SQLAlchemyError:  # the connection is gone, or was closed when the lock could not be taken again
                pass
            with contextlib.suppress(SQLAlchemyError):
                self._held.close()
            try:
                self._held = self._take()
            except ServerError as error:
                # As if it were away: nothing is written while another one has it, and it is tried again.
                raise OperationalError(str(error), None, error) from error
            LOG.warning("the lock on the database was lost with its connection, and is taken again")

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """Raise Unavailable for what SQLAlchemy says itself while PostgreSQL is away: no connection is free, or one broke midway."""
        try:
            yield
        except (PoolTimeout, PendingRollbackError, ResourceClosedError) as error:
            raise OperationalError(str(error), None, error) from error

    def check_form(self) -> None:
        """Raise ServerError unless the server has brought the tables to this version's form."""
        with self.engine.connect() as connection:
            form = form_of(connection)
        newest = own_forms()[0]
        if form != newest:
            raise ServerError(
                f"the database has form {form or 'none'} and this version needs {newest}: start the server of this version first"
            )


def is_served(connection: Connection) -> bool:
    """Return whether a server has this PostgreSQL database now, asked over a connection to it."""
    return bool(connection.exec_driver_sql(_WHO_HAS_IT).scalar())


def held(place: Path | str) -> bool:
    """Return whether a server has the database at `place` now."""
    if isinstance(place, str):
        engine = make_engine(place)
        try:
            with engine.connect() as connection:
                return is_served(connection)
        except DatabaseError as error:
            raise ServerError(f"the database {shown(place)} cannot be used: {error.orig}. Does it run?") from error
        finally:
            engine.dispose()
    try:
        _hold(place.with_suffix(".lock")).close()
    except FileNotFoundError:
        return False
    except ServerError:
        return True
    return False


@dataclass(frozen=True)
class Seen:
    """A PostgreSQL database, looked at from beside."""

    version: str
    form: str | None
    bytes: int
    days: int
    """Partitions of windows."""


def look_at(url: str) -> Seen:
    """Return what is to be seen of a PostgreSQL database; raise ServerError when it does not answer."""
    engine = make_engine(url)
    days = "SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('windows')"
    size = "SELECT pg_database_size(current_database())"
    try:
        with engine.connect() as connection:
            version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
            return Seen(
                f"PostgreSQL {version}",
                form_of(connection),
                *(int(connection.exec_driver_sql(query).scalar_one()) for query in (size, days)),
            )
    except DatabaseError as error:
        raise ServerError(f"the database {shown(url)} cannot be used: {error.orig}") from error
    finally:
        engine.dispose()


def shown(place: Path | str) -> str:
    """Return what names the database to a person, without a password."""
    return str(place) if isinstance(place, Path) else make_url(place).render_as_string(hide_password=True)


def take_turn(connection: Connection) -> None:
    """Make a fresh connection's transaction a writing one from its first word on.

    One of SQLite that began by reading would fail where the server has written since.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")
    else:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


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


def _hold_server(engine: Engine, place: str) -> Connection:
    return _hold_postgresql(
        engine,
        SERVER,
        f"another server runs with {shown(place)}: end that one, or name another database. For more processes that take "
        "telemetry: edgefleet server ingest",
    )


def _hold_postgresql(engine: Engine, key: int, refusal: str) -> Connection:
    """The same for PostgreSQL: a lock that lives as long as this connection. Raises ServerError with `refusal` when it is held."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar():
            raise ServerError(refusal)
        connection.detach()  # closed and not handed back to the pool: the lock must end with it
    except BaseException:
        connection.close()
        raise
    return connection


def make_engine(place: Path | str) -> Engine:
    """Return an engine for the SQLite file or the PostgreSQL database at `place`."""
    return _sqlite(place) if isinstance(place, Path) else _postgresql(place)


def _postgresql(place: str) -> Engine:
    try:
        import psycopg  # noqa: F401  # SQLAlchemy takes it by the name in the URL
    except ImportError as error:
        raise ServerError("PostgreSQL needs a driver: pip install 'edgefleet-server[postgresql]'") from error
    try:
        url = make_url(place).set(drivername="postgresql+psycopg")
    except ArgumentError as error:
        raise BadConfig(f"database.url is no URL: {error}") from error
    # pre_ping: after a restart of PostgreSQL the first word of each connection would fail. READ COMMITTED: whoever waited for
    # the turn must see what was written meanwhile.
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        isolation_level="READ COMMITTED",
        connect_args={
            "application_name": "edgefleet-server",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": f"-c lock_timeout={BUSY_MS}",  # as SQLite's: whoever waits for longer is told
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    event.listen(engine, "handle_error", _passes)
    return engine


def _passes(context: ExceptionContext) -> None:
    """Raise Unavailable for what passes and has another name with the driver: a message must not be thrown away for it."""
    error = context.original_exception
    if isinstance(context.sqlalchemy_exception, OperationalError):
        return
    if context.is_disconnect or passes(error):
        raise OperationalError(context.statement, None, error) from error


def _sqlite(path: Path) -> Engine:
    """An engine for the file at `path`, in WAL mode."""
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)  # a batch of telemetry is no error message

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
