"""States that the broker retains, read back by a server that knows nothing: none may be missing.

`python -m edgefleet_sim.retained --devices 10000`. Whoever subscribes to all of them at once loses, in silence, what passes Mosquitto's queue for a client: with its stock limits half of them.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .ending import end_on_sigterm
from .files import open_all_files
from .fleet import Fleet
from .run import BOOTS_PER_S
from .world import World


def read_back(count: int, say: Callable[[str], None], timeout_s: float = 600.0) -> dict[str, float]:
    """Return how many states a server without a database knew after broker and server were restarted, and how soon."""
    with World(persistence=True) as world:
        world.assign(range(count))
        world.start_broker()
        world.start_server()
        with Fleet(world, count) as fleet:
            fleet.order(do="boot", over_s=count / BOOTS_PER_S)
            fleet.until("every device knows its region", lambda now: now.assigned == count, timeout_s, say)
            time.sleep(2.0)
            fleet.until("the broker has all that they said", lambda now: not now.unsent, timeout_s, say)
            before = _until_known(world, count, timeout_s, say)[0]
        world.server.stop()
        say(
            f"every device is gone, and the server had {before} states; broker and server are restarted, and the server's database is removed"
        )
        world.broker.stop()
        for file in Path(world.folder / "server").glob("server.sqlite3*"):
            file.unlink()
        world.start_broker()
        began = time.monotonic()
        world.start_server()
        known, known_s = _until_known(world, count, timeout_s, say)
        return {
            "devices": count,
            "known_before": before,
            "read_back": known,
            "missing": count - known,
            "seconds": known_s - began,
        }


def _until_known(world: World, count: int, timeout_s: float, say: Callable[[str], None]) -> tuple[int, float]:
    """Return of how many devices the server has a state once it is all, or nothing came in time, and when that was."""
    end, told = time.monotonic() + timeout_s, 0.0
    while (known := states_known(world)) < count and time.monotonic() < end:
        if time.monotonic() - told > 2:
            told = time.monotonic()
            say(f"the server has the states of {known} of {count} devices")
        time.sleep(0.5)
    return known, time.monotonic()


def states_known(world: World) -> int:
    """Return of how many devices the running server has a state; its database is only read."""
    file = f"file:{world.folder / 'server' / 'server.sqlite3'}?mode=ro"
    with contextlib.closing(sqlite3.connect(file, uri=True, timeout=60)) as database:
        return int(database.execute("SELECT count(*) FROM devices WHERE state IS NOT NULL").fetchone()[0])


def main() -> int:
    """Print one JSON line; return 0 only when nothing is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    arguments = parser.parse_args()
    open_all_files()
    end_on_sigterm()
    found = read_back(arguments.devices, lambda words: print(words[:200], file=sys.stderr, flush=True))
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))
    return 0 if found["missing"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
