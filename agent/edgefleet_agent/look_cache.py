"""The folder that python-tuf's client works in: thrown away after each look, so its way of writing never matters.

It writes without fsync, and its `root.json` is a link that is not replaced atomically. What is to be kept is read back
from here and stored by the agent.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.metadata import Metadata

from .look_held import ROOT, root_number

_ROLE = re.compile(r"^[a-z0-9-]{1,80}\.json\Z")


def lay_out(folder: Path, cache: Mapping[str, bytes]) -> None:
    """Write the metadata of the last look where the client looks for it. Nothing in it is believed."""
    (folder / "root_history").mkdir()
    for name, data in cache.items():
        if ROOT.match(name):
            (folder / "root_history" / name).write_bytes(data)
        elif _ROLE.match(name) and name != "root.json":
            (folder / name).write_bytes(data)


def read(folder: Path, role: str) -> Metadata[Any]:
    """Return metadata that the client verified in this look: a file that it did not ask for may be anything."""
    return Metadata.from_file(str(folder / f"{quote(role, '')}.json"))


def roots(folder: Path) -> dict[str, bytes]:
    """Return every root up to the newest one that the client verified, by name; none before it was made."""
    if not (folder / "root.json").exists():
        return {}
    newest = read(folder, "root").signed.version
    history = sorted((folder / "root_history").iterdir())
    return {
        path.name: path.read_bytes() for path in history if ROOT.match(path.name) and root_number(path.name) <= newest
    }


def read_back(folder: Path, passed: Iterable[str]) -> dict[str, bytes]:
    """Return the roots, and the roles in `passed`, which this look has verified; nothing else that lay there."""
    names = [f"{role}.json" for role in passed if role != "root"]
    return roots(folder) | {name: (folder / name).read_bytes() for name in names if _ROLE.match(name)}
