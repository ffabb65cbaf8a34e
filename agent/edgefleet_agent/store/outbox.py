"""Telemetry windows that could not be sent: SQLite, written only then, because SD cards wear out.

Healthy devices never write here: windows are sent from memory and forgotten when the broker has them. Tests open the
database through another SQLite binding whose files lie on the disk that loses what was not synced; hence `connect`,
and statements that both bindings take alike.
"""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgefleet_protocol.sketch import Sketch, merge
from edgefleet_protocol.telemetry import ModelWindow, Window

from ..metering import merge_devices
from .disk import Disk

MAX_ROWS, MAX_BYTES = 4096, 4_000_000
"""Whichever comes first: rows are what a look through them costs, bytes (of the windows; the file may be twice as long) are the
card's. About three days of one-minute windows of one model fit unmerged, and more than a hundred days of merged ones."""
MAX_WINDOW_S = 3600.0
"""Two windows that together would cover more are not merged."""
SHRINK_FROM_BYTES = 65_536
"""A file of this size gives its space back once it is empty; a smaller one is not worth the writing."""

Key = tuple[str, float]
"""(boot, started_monotonic_s): the name of a window."""


class Connection(Protocol):
    """What the outbox needs of a database."""

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> Iterable[Any]:
        """Run one statement and return its rows."""

    def close(self) -> None:
        """Let go of the file."""


Connect = Callable[[Path], Connection]


def connect_sqlite(path: Path) -> Connection:
    """Open the database with the standard library, without transactions of its own making."""
    connection: Connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    return connection


def key_of(window: Window) -> Key:
    """Return the name of a window."""
    return window.boot, window.started_monotonic_s


class Outbox:
    """A bounded queue of windows on disk. Never raises for a damaged or full database: it says so in `problems`."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        connect: Connect = connect_sqlite,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._disk, self._path, self._connect = disk, folder / "outbox.db", connect
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._coarse = 0
        """No window before the row of this number can be merged with the next one."""
        self._database: Connection | None = None
        self._lost = 0
        """As the database counts them: windows merged into another or dropped since it was made, in its own transactions."""
        self.dropped = 0
        """Windows that could not even be stored, since the last `take_dropped`."""
        self.problems: list[str] = []
        self._rows: int | None = None if disk.size(self._path) is not None else 0

    def add(self, windows: Iterable[Window], under_way: frozenset[Key] = frozenset()) -> bool:
        """Store windows durably; return whether they were. One that is there already is left alone.

        under_way: those that the broker is about to have, and that will be forgotten by their names: nothing is merged into them.
        """
        rows = [(*key_of(window), msgspec.json.encode(window)) for window in windows]

        def work(database: Connection) -> bool:
            for boot, started, body in rows:
                database.execute(
                    "INSERT OR IGNORE INTO windows (boot, started, body) VALUES (?, ?, ?)", (boot, started, body)
                )
            self._bound(database, under_way)
            return True

        return bool(rows) and self._transaction(work, False)

    def oldest(self, count: int, without: frozenset[Key] = frozenset()) -> list[Window]:
        """Return up to `count` windows, the oldest first, that are not in `without`."""
        if self._rows == 0:
            return []

        def work(database: Connection) -> list[Window]:
            found = []
            for boot, started, body in database.execute("SELECT boot, started, body FROM windows ORDER BY id"):
                if (boot, started) not in without:
                    found.append(msgspec.json.decode(body, type=Window))
                if len(found) >= count:
                    break
            return found

        found: list[Window] = self._transaction(work, [])
        return found

    def remove(self, keys: Iterable[Key]) -> bool:
        """Forget windows that the broker has; return whether they are forgotten."""
        wanted = list(keys)
        if not wanted or self._rows == 0:
            return True

        def work(database: Connection) -> bool:
            for boot, started in wanted:
                database.execute("DELETE FROM windows WHERE boot = ? AND started = ?", (boot, started))
            return True

        self._coarse = 0
        if not self._transaction(work, False):
            return False
        if self._rows == 0 and (self._disk.size(self._path) or 0) >= SHRINK_FROM_BYTES:
            self._shrink()
        return True

    def count(self) -> int:
        """Return how many windows wait."""
        if self._rows is None:
            self._transaction(lambda database: None, None)
        return self._rows or 0

    def lost(self) -> int:
        """Return how many windows were merged into others or dropped here, ever: a power cut forgets none of them."""
        self.count()
        return self._lost

    def take_dropped(self) -> int:
        """Return how many windows could not be stored since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _bound(self, database: Connection, under_way: frozenset[Key]) -> None:
        """Merge neighbours, oldest first, until all is small enough; drop the oldest where nothing can be merged any more."""
        rows, size = next(iter(database.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0) FROM windows")))
        lost = 0
        while rows > self._max_rows or size > self._max_bytes:
            freed = self._merge_one(database, under_way)
            if freed is None:
                number, freed = next(iter(database.execute("SELECT id, LENGTH(body) FROM windows ORDER BY id LIMIT 1")))
                database.execute("DELETE FROM windows WHERE id = ?", (number,))
            rows, size, lost = rows - 1, size - freed, lost + 1
        if lost:
            database.execute(f"PRAGMA user_version = {lost_so_far(database) + lost}")

    def _merge_one(self, database: Connection, under_way: frozenset[Key]) -> int | None:
        """Merge the oldest two neighbours that can be; return how many bytes less there are, or None where none can be."""
        while True:
            select = "SELECT id, body FROM windows WHERE id >= ? ORDER BY id LIMIT 2"
            pair = list(database.execute(select, (self._coarse,)))
            if len(pair) < 2:
                return None
            (first, older), (second, newer) = pair
            windows = [msgspec.json.decode(body, type=Window) for body in (older, newer)]
            busy = any(key_of(window) in under_way for window in windows)
            merged = None if busy else merge_windows(windows[0], windows[1])
            if merged is None:
                self._coarse = second
                continue
            body = msgspec.json.encode(merged)
            database.execute("UPDATE windows SET body = ? WHERE id = ?", (body, first))
            database.execute("DELETE FROM windows WHERE id = ?", (second,))
            return len(older) + len(newer) - len(body)

    def _shrink(self) -> None:
        """Give the space of an empty database back to the file system. It waits for the next time when that fails."""
        try:
            list(self._open().execute("VACUUM"))
        except Exception as error:  # as in _transaction
            self.problems.append(f"the outbox could not be made smaller: {error}")

    def _transaction(self, work: Callable[[Connection], Any], failed: Any) -> Any:
        """Return what `work` returns, all or nothing; `failed` when the database cannot be used now."""
        for attempt in (1, 2):
            try:
                database = self._open()
                database.execute("BEGIN IMMEDIATE")
                result = work(database)
                rows, lost = next(iter(database.execute("SELECT COUNT(*) FROM windows")))[0], lost_so_far(database)
                database.execute("COMMIT")
                self._rows, self._lost = rows, lost
                return result
            except Exception as error:  # two bindings, two trees of errors; KeyboardInterrupt is none of them
                if self._repair(error, attempt):
                    continue
                return failed
        return failed

    def _repair(self, error: Exception, attempt: int) -> bool:
        """Set a damaged database aside, once; return whether it is worth another try."""
        text = str(error).lower()
        self._coarse = 0
        self.problems.append(f"the outbox failed: {error}")
        if self._database is not None:
            try:
                self._database.execute("ROLLBACK")
            except Exception:  # there was no transaction, or the database is gone
                self.close()
        damaged = any(word in text for word in ("malformed", "not a database", "no such table", "no such column"))
        if not damaged or attempt > 1:
            return False
        self.close()
        self._rows = 0
        for suffix in ("", "-journal"):
            path = self._path.with_name(self._path.name + suffix)
            if self._disk.size(path) is not None:
                self._disk.rename(path, path.with_name(path.name + ".bad"))
        return True

    def _open(self) -> Connection:
        if self._database is None:
            database = self._connect(self._path)
            # TRUNCATE with FULL syncs the emptied journal too, so that a committed transaction cannot be undone.
            for pragma in ("journal_mode=TRUNCATE", "synchronous=FULL", "temp_store=MEMORY"):
                list(database.execute(f"PRAGMA {pragma}"))
            database.execute(
                "CREATE TABLE IF NOT EXISTS windows (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, "
                "started REAL NOT NULL, body BLOB NOT NULL, UNIQUE (boot, started))"
            )
            self._database = database
        return self._database


def lost_so_far(database: Connection) -> int:
    """Return the number that a database carries beside its tables."""
    number: int = next(iter(database.execute("PRAGMA user_version")))[0]
    return number


def merge_windows(older: Window, newer: Window) -> Window | None:
    """Return one window for two neighbours of one boot, named as the older; None when they are too long or too far apart."""
    if older.boot != newer.boot or newer.started_monotonic_s + newer.seconds - older.started_monotonic_s > MAX_WINDOW_S:
        return None
    models = {(row.model, row.release_sha256, row.variant): row for row in older.models}
    for row in newer.models:
        name = (row.model, row.release_sha256, row.variant)
        models[name] = merge_models(models[name], row) if name in models else row
    return Window(
        start_s=older.start_s,
        seconds=older.seconds + newer.seconds,
        boot=older.boot,
        started_monotonic_s=older.started_monotonic_s,
        clock_trusted=older.clock_trusted and newer.clock_trusted,
        device=merge_devices(older.device, newer.device),
        models=tuple(models.values()),
    )


def merge_models(older: ModelWindow, newer: ModelWindow) -> ModelWindow:
    """Return the counts of both."""
    confidences: list[Sketch] = [row for row in (older.confidence, newer.confidence) if row is not None]
    memories = [row for row in (older.memory_bytes, newer.memory_bytes) if row is not None]
    return ModelWindow(
        model=newer.model,
        release=newer.release,
        release_sha256=newer.release_sha256,
        variant=newer.variant,
        requests=older.requests + newer.requests,
        errors=older.errors + newer.errors,
        latency=merge([older.latency, newer.latency]),
        confidence=merge(confidences) if confidences else None,
        memory_bytes=max(memories) if memories else None,
    )
