"""Bringing a database to this version's tables, with Alembic and no file of settings."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine


def upgrade(engine: Engine) -> None:
    """Apply every migration that the database lacks. Each is one transaction."""
    command.upgrade(settings(engine), "head")


def settings(engine: Engine | None = None) -> Config:
    """Return Alembic's settings, with no file of them."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    return config


def own_forms() -> tuple[str, ...]:
    """Return the numbers of the migrations that this version knows, the newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(settings()).walk_revisions())


def form_of(connection: Connection) -> str | None:
    """Return the number of the last migration of a database, or None when it has none."""
    return MigrationContext.configure(connection).get_current_revision()
