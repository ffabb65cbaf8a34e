"""Bringing a database to this version's tables, with Alembic and no file of settings."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine


def upgrade(engine: Engine) -> None:
    """Apply every migration that the database lacks. Each is one transaction."""
    command.upgrade(settings(engine), "head")


def settings(engine: Engine | None = None) -> Config:
    """Return Alembic's settings, with no file of them."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    return config
