"""A copy of the database while a server writes to it, and what form a copy has."""

import sqlite3
from pathlib import Path

from .migrate import own_forms

__all__ = ["copy", "faults", "form", "own_forms"]


def copy(source: Path, target: Path) -> None:
    """Copy one moment of the database at `source` to `target`, whoever writes to it meanwhile.

    In one step: copied in pieces, it would begin anew whenever somebody writes, and under load never end. Raises sqlite3.Error.
    """
    given, taken = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30.0), sqlite3.connect(target)
    try:
        given.backup(taken, pages=-1)
        taken.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
    finally:
        taken.close()
        given.close()


def faults(path: Path) -> tuple[str, ...]:
    """Return what SQLite finds wrong in the file at `path`; none: it is whole."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)
        try:
            rows = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return (str(error),)
    return tuple(row for row in rows if row != "ok")


def form(path: Path) -> str | None:
    """Return the number of the last migration of the database at `path`, or None when it has none. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    finally:
        connection.close()
    return None if row is None else str(row[0])
