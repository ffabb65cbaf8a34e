"""TOML files that a person names on the command line."""

from pathlib import Path
from typing import Any

import tomllib

from edgefleet_trust.files import open_regular

from ..errors import BadRequest, NotFound


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of the file at `path`; raise NotFound or BadRequest, with its name."""
    try:
        with open_regular(path) as file:
            return tomllib.load(file)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"{path} is not TOML: {error}") from error
