"""Telemetry windows that could not be sent: SQLite, written only then, because SD cards wear out.

Healthy devices never write here: windows are sent from memory and forgotten when the broker has them. Tests open the
database through another SQLite binding whose files lie on the disk that loses what was not synced; hence `connect`,
and statements that both bindings take alike.
"""

import itertools
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgefleet_protocol.sketch import Sketch, merge
from edgefleet_protocol.telemetry import ModelWindow, Window

from .disk import Disk

MAX_ROWS = 4096
"""About three days of one-minute windows of one model, 2 MB."""
MAX_WINDOW_S = 3600.0
"""Two windows that together are longer are not merged; then the older one is dropped."""

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

    def __init__(self, disk: Disk, folder: Path, connect: Connect = connect_sqlite, max_rows: int = MAX_ROWS) -> None:
        self._disk, self._path, self._connect, self._max_rows = disk, folder / "outbox.db", connect, max_rows
        self._database: Connection | None = None
        self.dropped = 0
        """Windows merged into another or dropped since the last `take_dropped`."""
        self.problems: list[str] = []
        self._rows: int | None = None if disk.size(self._path) is not None else 0

    def add(self, windows: Iterable[Window]) -> bool:
        """Store windows durably; return whether they were. One that is there already is left alone."""
        rows = [(*key_of(window), msgspec.json.encode(window)) for window in windows]

        def work(database: Connection) -> bool:
            for boot, started, body in rows:
                database.execute(
                    "INSERT OR IGNORE INTO windows (boot, started, body) VALUES (?, ?, ?)", (boot, started, body)
                )
            self._bound(database)
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

    def remove(self, keys: Iterable[Key]) -> None:
        """Forget windows that the broker has."""
        wanted = list(keys)
        if not wanted or self._rows == 0:
            return

        def work(database: Connection) -> None:
            for boot, started in wanted:
                database.execute("DELETE FROM windows WHERE boot = ? AND started = ?", (boot, started))

        self._transaction(work, None)

    def count(self) -> int:
        """Return how many windows wait."""
        if self._rows is None:
            self._transaction(lambda database: None, None)
        return self._rows or 0

    def take_dropped(self) -> int:
        """Return how many windows were merged or dropped since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _bound(self, database: Connection) -> None:
        """Merge neighbours, oldest first, until there are few enough; drop the oldest where nothing can be merged."""
        rows = next(iter(database.execute("SELECT COUNT(*) FROM windows")))[0]
        while rows > self._max_rows:
            stored = list(database.execute("SELECT id, body FROM windows ORDER BY id LIMIT 64"))
            windows = [(number, msgspec.json.decode(body, type=Window)) for number, body in stored]
            for (first, older), (second, newer) in itertools.pairwise(windows):
                merged = merge_windows(older, newer)
                if merged is not None:
                    database.execute("UPDATE windows SET body = ? WHERE id = ?", (msgspec.json.encode(merged), first))
                    database.execute("DELETE FROM windows WHERE id = ?", (second,))
                    break
            else:
                database.execute("DELETE FROM windows WHERE id = ?", (windows[0][0],))
            self.dropped += 1
            rows -= 1

    def _transaction(self, work: Callable[[Connection], Any], failed: Any) -> Any:
        """Return what `work` returns, all or nothing; `failed` when the database cannot be used now."""
        for attempt in (1, 2):
            try:
                database = self._open()
                database.execute("BEGIN IMMEDIATE")
                result = work(database)
                self._rows = next(iter(database.execute("SELECT COUNT(*) FROM windows")))[0]
                database.execute("COMMIT")
                return result
            except Exception as error:  # two bindings, two trees of errors; KeyboardInterrupt is none of them
                if self._repair(error, attempt):
                    continue
                return failed
        return failed

    def _repair(self, error: Exception, attempt: int) -> bool:
        """Set a damaged database aside, once; return whether it is worth another try."""
        text = str(error).lower()
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


def merge_windows(older: Window, newer: Window) -> Window | None:
    """Return one window for two neighbours of one boot, named as the older; None when they are too long or too far apart."""
    if older.boot != newer.boot or older.seconds + newer.seconds > MAX_WINDOW_S:
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
        device=newer.device,
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
