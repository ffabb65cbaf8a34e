"""What lies in a package folder besides the release itself, read with care: the folder is somebody else's work."""

import json
from pathlib import Path
from typing import Any

from edgefleet_protocol.codec import sha256_hex

from . import __version__
from .errors import BadPackage
from .files import NotRegular, open_regular

LINEAGE = "lineage.json"
"""What the maker knows of workload, data, parent model and tools; any JSON object."""
_MATERIALS = ("release.json", "report.html", LINEAGE, "check/inputs.f32", "check/check.json")
_MAX_LINEAGE_BYTES = 64_000
_MAX_MATERIAL_BYTES = 2_000_000_000


def read_regular(path: Path, limit: int) -> bytes:
    """Return the bytes of the file at `path`, and at most one more than `limit`.

    Raises OSError where it cannot be read, BadPackage where it is no regular file: a pipe would wait for ever.
    """
    try:
        with open_regular(path) as file:
            return file.read(limit + 1)
    except NotRegular as error:
        raise BadPackage(f"{path} is no regular file, and nothing else is read from a package") from error


def read_lineage(package: Path) -> dict[str, Any]:
    """Return what `lineage.json` says, empty where there is none; raise BadPackage when it is no JSON object."""
    try:
        data = read_regular(package / LINEAGE, _MAX_LINEAGE_BYTES)
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(data)
        if len(data) > _MAX_LINEAGE_BYTES or not isinstance(found, dict):
            raise ValueError("it must be one object of at most 64 KB")
    except (ValueError, RecursionError) as error:
        raise BadPackage(f"{package / LINEAGE} cannot be used: {error}") from error
    return found


def read_materials(package: Path) -> dict[str, str]:
    """Return the SHA-256 of what came with the package and is no file of the release."""
    found = {}
    for name in _MATERIALS:
        try:
            found[name] = sha256_hex(read_regular(package / name, _MAX_MATERIAL_BYTES))
        except FileNotFoundError:
            continue
    return found


def builder() -> str:
    """Return who numbers and cuts it: this program."""
    return f"urn:edgefleet:trust:{__version__}"
