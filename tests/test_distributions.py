"""What a room's distribution says of itself: it names what it imports, and nothing else; its licence travels with it."""

import re
import sys
from pathlib import Path

import pytest

from .test_architecture import ALL, MAY_IMPORT, ROOT, room_of
from .test_versions import requirements

ROOMS = list(MAY_IMPORT)

DISTRIBUTION = {"backports.zstd": "backports-zstd", "paho": "paho-mqtt", "torch_pruning": "torch-pruning"}
"""Top of an import -> the distribution that brings it, where the names differ."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(room: str) -> set[str]:
    """Return the distributions that the files of `room` import from."""
    found = set()
    for where, row in ALL:
        if where != room or room_of(row.module) == room:
            continue
        top = row.module if row.module in DISTRIBUTION else row.module.partition(".")[0]
        if top == "backports":
            top = f"backports.{row.names[0]}"
        if top not in sys.stdlib_module_names:
            found.add(normal(DISTRIBUTION.get(top, top)))
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_names_exactly_the_distributions_that_it_imports(room):
    named = {normal(row.name) for row in requirements(ROOT / room / "pyproject.toml")}
    if room == "edgefleet":  # its extras are the other rooms
        named = set()
    assert named == imported(room)


@pytest.mark.parametrize("room", ROOMS)
def test_the_licence_travels_with_each_room(room):
    assert (ROOT / room / "LICENSE").read_text() == (Path(ROOT) / "LICENSE").read_text()
