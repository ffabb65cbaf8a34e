"""States that the broker retains, read back by a server that knows nothing: none may be missing.

`python -m edgefleet_sim.retained --devices 10000`. Mosquitto's stock queue of 1,000 messages for each client loses the rest in silence.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgefleet_server.store import devices
from edgefleet_server.store.database import Database

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
        world.server.stop()
        before = states_known(world)
        say(
            f"every device is gone, and the server had {before} states; broker and server are restarted, and the server's database is removed"
        )
        world.broker.stop()
        for file in Path(world.folder / "server").glob("server.sqlite3*"):
            file.unlink()
        world.start_broker()
        began = time.monotonic()
        world.start_server()
        told = 0.0
        while (rows := rows_known(world)) < count and time.monotonic() - began < timeout_s:
            if time.monotonic() - told > 2:
                told = time.monotonic()
                say(f"{rows} of {count} devices read back")
            time.sleep(0.5)
        seconds = time.monotonic() - began
        time.sleep(2.0)  # a row may be of a presence whose state comes after it
        world.server.stop()
        known = states_known(world)
        return {
            "devices": count,
            "known_before": before,
            "read_back": known,
            "missing": count - known,
            "seconds": seconds,
        }


def rows_known(world: World) -> int:
    """Return how many devices the server has heard anything of."""
    lines = world.http.get("/metrics").text.splitlines()
    return int(sum(float(row.rpartition(" ")[2]) for row in lines if row.startswith("edgefleet_devices{")))


def states_known(world: World) -> int:
    """Return how many devices a server that was stopped has a state of."""
    with (
        contextlib.closing(Database(world.folder / "server" / "server.sqlite3")) as database,
        database.read() as connection,
    ):
        return sum(row.state is not None for row in devices.every(connection))


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
