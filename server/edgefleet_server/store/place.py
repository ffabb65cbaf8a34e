"""Where the database is, as server.toml says it."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from ..errors import BadConfig

FILE = "server.sqlite3"
"""The database's name in the data folder, where it is SQLite."""


@dataclass(frozen=True)
class DatabaseConfig:
    """Where devices, rollouts and telemetry are kept."""

    url: str = ""
    """`postgresql://user@host/name`; empty: an SQLite file in the data folder."""
    password_file: str = ""
    """A file with the password of that user: server.toml may be read by more people."""


def read_database(database: DatabaseConfig, base: Path) -> DatabaseConfig:
    """Return it with its file relative to the configuration; raise BadConfig for what is no PostgreSQL."""
    if database.url and not database.url.startswith(("postgresql://", "postgres://")):
        raise BadConfig(
            "database.url names no PostgreSQL: write postgresql://user@host/name, or leave it out for an SQLite file in `data`"
        )
    if not database.password_file:
        return database
    if not database.url:
        raise BadConfig("database.password_file is there and database.url is not: write both, or neither")
    return replace(database, password_file=str(base / database.password_file))


def database_place(database: DatabaseConfig, data: Path) -> Path | str:
    """Return the SQLite file in `data`, or the URL with the password out of its file. Raises BadConfig when that cannot be read."""
    if not database.url:
        return data / FILE
    url = "postgresql://" + database.url.partition("://")[2]
    if not database.password_file:
        return url
    try:
        secret = Path(database.password_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadConfig(f"database.password_file {database.password_file} cannot be read: {error.strerror}") from error
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not user or ":" in user:
        raise BadConfig(
            "database.password_file needs a user, and no password, in database.url: postgresql://user@host/name"
        )
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(secret, safe='')}@{host}"))
