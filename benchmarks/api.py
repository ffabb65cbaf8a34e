"""How long the API takes to answer for each view of telemetry, over a database such as a large fleet leaves.

100,000 devices in 50 regions, five hardware classes, three variants, a release that goes through the regions within 30 days:
roll-ups by minute for two days, by hour and day for 30, in SQLite. A sample of devices has a day of windows, one a minute.
`--small` is a smoke test of some seconds. Real HTTP on loopback, one request after the other, answers not kept between.

`fleet_p95_ms`, `region_p95_ms`, `device_p95_ms`: of the time until an answer is read, over spans of 6 hours, a day, a week and 30
days in turn (a device: a day). `release_p95_ms`, `compare_p95_ms`: the same of these views. `…_p50_ms`: the medians.
`…_cpu_ms`: processor time of server and client together, the median; other load changes it least.
`rollup_rows`: in the database. `rollup_gb_per_day`: what roll-ups take on disk for each day, while minutes of it are kept.
`database_gb_per_day_100k`: that and windows of 100,000 devices, one a minute, by what a window of the sample takes on disk.
"""

import argparse
import http.client
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import uvicorn

from edgefleet_server.app import Server
from edgefleet_server.config import BrokerConfig, HttpConfig, ServerConfig
from edgefleet_server.seams import WallClock
from tests.fakes.repository import PASSPHRASE, make_repository

from ._report import report
from ._telemetry_fleet import DAY_S, RELEASES, Built, Shape, build

SPANS_S = (6 * 3600, DAY_S, 7 * DAY_S, 30 * DAY_S)
PER_DAY = 1440


def main() -> int:
    """Build, ask, and report."""
    parser = argparse.ArgumentParser(prog="make bench NAME=api ARGS=…", description=__doc__)
    parser.add_argument(
        "--small", action="store_true", help="a hundred devices in two regions, three days: a smoke test"
    )
    parser.add_argument("--requests", type=int, default=80, metavar="N", help="for each view (default: 80)")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="keep the database there, and ask the one that is there"
    )
    arguments = parser.parse_args()
    requests = 8 if arguments.small else arguments.requests
    if arguments.folder is not None:
        return run(arguments.folder, small=arguments.small, requests=requests)
    with tempfile.TemporaryDirectory(prefix="edgefleet-bench-api-") as folder:
        return run(Path(folder), small=arguments.small, requests=requests)


def run(folder: Path, *, small: bool, requests: int) -> int:
    """Do it all in `folder`."""
    regions = tuple(f"region-{number:02}" for number in range(2 if small else 50))
    shape = Shape(100, regions, 3, 5) if small else Shape(100_000, regions, 30, 300)
    notes = folder / "built.json"
    if notes.is_file():
        built = Built(**json.loads(notes.read_text()))
    else:
        folder.mkdir(exist_ok=True)
        make_repository(folder, regions=regions)
    config = ServerConfig(
        repository=folder / "repository",
        keys=folder / "keys",
        data=folder / "data",
        broker=BrokerConfig(port=1, open=True),
        http=HttpConfig(open=True),
    )
    # What was built is as old as it was then: the server's clock stands where it ended.
    server = Server(config, PASSPHRASE, StoppedClock(built.now_s) if notes.is_file() else None)
    if not notes.is_file():
        began = time.monotonic()
        built = build(server.database, folder / "data/server.sqlite3", shape, time.time())
        notes.write_text(json.dumps(asdict(built)))
        say(f"written in {time.monotonic() - began:.0f} s")
    say(
        f"{shape.devices} devices, {len(regions)} regions, {shape.days} days: {built.rollup_rows} rows of roll-ups "
        f"({built.rollup_bytes / 1e6:.0f} MB), {built.window_rows} windows of {shape.sampled} devices "
        f"({built.window_bytes / 1e6:.0f} MB)"
    )
    rng = random.Random(3)
    sampled = range(0, shape.devices, max(1, shape.devices // shape.sampled))
    views: dict[str, Callable[[int], str]] = {
        "fleet": lambda last_s: f"fleet?last_s={last_s}",
        "region": lambda last_s: f"regions/{rng.choice(regions)}?last_s={last_s}",
        "release": lambda last_s: f"releases/{rng.choice(RELEASES)}?last_s={last_s}",
        "compare": lambda last_s: f"compare/{rng.choice(regions)}?last_s={last_s}",
        "device": lambda last_s: f"devices/d{rng.choice(sampled):06}",
    }
    figures: dict[str, float] = {}
    with Served(server) as ask:
        for name, path in views.items():
            times: dict[int, list[float]] = {}
            spent: dict[int, list[float]] = {}
            sizes = []
            for turn in range(requests):
                last_s = SPANS_S[turn % len(SPANS_S)]
                before = time.process_time()
                took_s, answer = ask(f"/v1/telemetry/{path(last_s)}")
                spent.setdefault(last_s, []).append((time.process_time() - before) * 1e3)
                times.setdefault(last_s, []).append(took_s * 1e3)
                sizes.append(len(answer))
                check(name, answer)
            every = sorted(one for some in times.values() for one in some)
            figures[f"{name}_p95_ms"] = every[int(0.95 * (len(every) - 1))]
            figures[f"{name}_p50_ms"] = statistics.median(every)
            figures[f"{name}_cpu_ms"] = statistics.median(one for some in spent.values() for one in some)
            for what, found in (("medians", times), ("processor time", spent)):
                by_span = ", ".join(
                    f"{span // 3600} h {statistics.median(some):.0f} ms" for span, some in found.items()
                )
                say(f"{name}: {what}: {by_span}")
            say(f"{name}: p95 {figures[f'{name}_p95_ms']:.0f} ms; answers up to {max(sizes) / 1e3:.0f} kB")
    server.database.close()
    a_row = built.rollup_bytes / built.rollup_rows
    a_day = a_row * built.rows_per_day
    a_window = built.window_bytes / built.window_rows
    figures["rollup_rows"] = built.rollup_rows
    figures["rollup_gb_per_day"] = a_day / 1e9
    figures["window_bytes"] = a_window
    figures["database_gb_per_day_100k"] = (a_day + a_window * 100_000 * PER_DAY) / 1e9
    report("api", figures)
    return 0


class StoppedClock(WallClock):
    """The moment at which the database was built."""

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def now(self) -> float:
        """Return that moment."""
        return self._now_s


class Served:
    """The server's API on a port of loopback; gives what asks it."""

    def __init__(self, server: Server) -> None:
        self._http = uvicorn.Server(uvicorn.Config(server.web, port=0, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._http.run, daemon=True)

    def __enter__(self) -> Callable[[str], tuple[float, bytes]]:
        self._thread.start()
        while not self._http.started:
            time.sleep(0.01)
        port = self._http.servers[0].sockets[0].getsockname()[1]
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

        def ask(path: str) -> tuple[float, bytes]:
            began = time.perf_counter()
            client.request("GET", path)
            answer = client.getresponse()
            body = answer.read()
            took_s = time.perf_counter() - began
            if answer.status != 200:
                raise SystemExit(f"{path}: {answer.status} {body[:500]!r}")
            return took_s, body

        return ask

    def __exit__(self, *_: object) -> None:
        self._http.should_exit = True
        self._thread.join(timeout=20)


def check(name: str, answer: bytes) -> None:
    """End the run when a view shows nothing: it would be quick."""
    found = json.loads(answer)
    views: dict[str, Callable[[], object]] = {
        "fleet": lambda: found["models"][0]["whole"]["p95_s"] and found["regions"] and found["boards"]["temperature_c"],
        "region": lambda: found["models"][0]["series"]["at_s"] and found["variants"][0]["p95_s"],
        "release": lambda: True,
        "compare": lambda: found["a"]["whole"]["p95_s"] and found["b"]["series"]["at_s"],
        "device": lambda: len(found["models"][0]["series"]["at_s"]) > 200 and found["energy"],
    }
    if not views[name]():
        raise SystemExit(f"{name} shows nothing: {answer[:500]!r}")


def say(text: str) -> None:
    """Print for whoever watches."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
