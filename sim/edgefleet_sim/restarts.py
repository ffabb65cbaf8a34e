"""A restart in each phase of a rollout: what was cut, and whether the end was the same.

`python -m edgefleet_sim.restarts --devices 30`; `--write PAGE` puts the table into a page, between its marks. The controller lives in the server's process: killing the one kills the other.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ending import end_on_sigterm
from .files import open_all_files
from .fleet import Fleet
from .run import come_up, until_ended
from .world import World

STAGES = (30.0, 60.0, 100.0)
"""Wide enough that twenty devices are in each."""
PROBATION_S = 1.5
PHASES = ("just started", "stage 1 in probation", "stage 2 just opened", "stage 3 just opened", "just complete")
BEGIN, END = "<!-- made by `make restarts` -->", "<!-- end of what it made -->"
CUTS = ("server killed", "server stopped", "broker killed", "both killed")


@dataclass(frozen=True)
class Row:
    """One restart. `moves`: the rollout's own account of itself."""

    phase: str
    cut: str
    at: str
    """How the rollout stood when it was cut."""
    status: str
    moves: tuple[str, ...]
    proven: int
    seconds: float

    @property
    def end(self) -> tuple[str, tuple[str, ...], int]:
        """What must be the same whatever was cut."""
        return self.status, self.moves, self.proven


def restarts(
    devices: int, say: Callable[[str], None], phases: tuple[str, ...] = PHASES, cuts: tuple[str, ...] = CUTS
) -> list[Row]:
    """Return a row without any cut, and one for each phase and cut: each a release of its own, in one fleet."""
    rows = []
    with World() as world:
        world.assign(range(devices))
        first = world.release(size_bytes=2000)
        world.start_broker()
        world.start_server()
        with Fleet(world, devices) as fleet:
            come_up(world, fleet, first, say, 120.0, PROBATION_S)
            for phase, cut in [("never", "nothing"), *((phase, cut) for phase in phases for cut in cuts)]:
                rows.append(_one(world, fleet, phase, cut, say))
                say(line(rows[-1], rows[0]))
    return rows


def _one(world: World, fleet: Fleet, phase: str, cut: str, say: Callable[[str], None]) -> Row:
    release = world.release(size_bytes=2000)
    began = time.monotonic()
    world.begin(release, STAGES, probation_s=PROBATION_S)
    at = ""
    if phase != "never":
        row = _wait_for(world, fleet, release, phase)
        at = f"{row['status']}, stage {row['stage'] + 1}"
        _cut(world, cut)
    ended = until_ended(world, fleet, release, say, 120.0)
    fleet.until(f"{release} everywhere", lambda now: now.proven.get(release, 0) == len(fleet.numbers), 120.0)
    moves = tuple(move["kind"] for move in world.rollout(release)["moves"] if move["kind"] != "wait")
    proven = fleet.count().proven.get(release, 0)
    return Row(phase, cut, at, ended["status"], moves, proven, time.monotonic() - began)


def _wait_for(world: World, fleet: Fleet, release: str, phase: str) -> dict[str, Any]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        row = world.rollout(release)
        now = {
            "just started": True,
            "stage 1 in probation": fleet.count().serving.get(release, 0) > 0,
            "stage 2 just opened": row["stage"] >= 1,
            "stage 3 just opened": row["stage"] >= 2,
            "just complete": row["status"] == "complete",
        }
        if now[phase]:
            return row
        time.sleep(0.05)
    raise TimeoutError(f"{release} never was {phase}")


def _cut(world: World, cut: str) -> None:
    if cut == "server stopped":
        world.server.stop()
    if cut in ("server killed", "both killed"):
        world.server.kill()
    if cut in ("broker killed", "both killed"):
        world.broker.kill()
        world.start_broker()
    if cut != "broker killed":
        world.start_server()


def line(row: Row, plain: Row) -> str:
    """Return one line of the table."""
    same = "the same" if row.end == plain.end else f"NOT the same: {row.end} and without a cut {plain.end}"
    return f"{row.phase:<22} {row.cut:<15} {row.at:<18} {row.status:<10} {row.proven:>3} proven {row.seconds:5.1f} s  {same}"


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    plain = rows[0]
    lines = [
        f"| when | what was cut | as it stood | the end | seconds, {plain.seconds:.1f} without a cut |",
        "|---|---|---|---|---|",
    ]
    for row in rows[1:]:
        same = "the same" if row.end == plain.end else "**not the same**"
        end = f"{same}: {row.status}, {row.proven} proven, {len(row.moves)} moves"
        lines.append(f"| {row.phase} | {row.cut} | {row.at} | {end} | {row.seconds:.1f} |")
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put `text` between the page's marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has not both marks, {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def main() -> int:
    """Print the table and one JSON line; return 0 only when every end was the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=30)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, between its marks")
    arguments = parser.parse_args()
    open_all_files()
    end_on_sigterm()
    rows = restarts(arguments.devices, lambda words: print(words[:200], file=sys.stderr, flush=True))
    for row in rows:
        print(line(row, rows[0]))
    if arguments.write is not None:
        write(arguments.write, table(rows))
    other = [f"{row.phase}, {row.cut}" for row in rows if row.end != rows[0].end]
    print(json.dumps({"devices": arguments.devices, "restarts": len(rows) - 1, "other_ends": other}))
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
