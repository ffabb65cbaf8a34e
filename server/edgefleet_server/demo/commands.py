"""`edgefleet demo`: the whole job on this machine."""

import argparse
import json
import shutil
import signal
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import httpx

from ..errors import ServerError
from . import cast, expectations, layout, load
from .fleet import Fleet
from .job import GOLDEN_WRONG, GOOD_FIRST, GOOD_NEXT, TOO_SLOW, Job
from .narrate import Narrator
from .outcome import Outcome, table
from .processes import Processes, wait_for

DONE, FAILED, MISSING, INTERRUPTED = 0, 1, 2, 130
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP: the terminal was closed."""
MAX_FOLDER = 60
"""Characters: below it lie Unix sockets, whose path may have 107 bytes."""


def main(argv: list[str]) -> int:
    """Run the demo; return 0 when every promise was kept, 1 when one was not or a part failed, 130 on Ctrl-C."""
    arguments = _parser().parse_args(argv)
    if lacking := [
        part for part in ("edgefleet_agent", "edgefleet_compress", "edgefleet_client") if find_spec(part) is None
    ]:
        print(f"edgefleet demo: {', '.join(lacking)} is not installed: pip install 'edgefleet[all]'", file=sys.stderr)
        return MISSING
    if arguments.port is not None and (problem := why_no_port(arguments.port)):
        print(f"edgefleet demo: --port {problem}", file=sys.stderr)
        return MISSING
    folder = arguments.dir or Path(tempfile.mkdtemp(prefix="edgefleet-"))
    if len(str(folder.absolute())) > MAX_FOLDER:
        print(
            f"edgefleet demo: {folder} is longer than {MAX_FOLDER} characters, too long for Unix sockets",
            file=sys.stderr,
        )
        return MISSING
    for number in ENDS:
        signal.signal(number, _interrupt)
    narrator = Narrator(sys.stderr if arguments.json else sys.stdout)
    try:
        code = _demo(arguments, folder.absolute(), narrator)
        if code != DONE:
            print(f"\nedgefleet demo: a promise was broken; {folder / 'logs'} has what was printed", file=sys.stderr)
            arguments.dir = folder  # keep it
        return code
    except KeyboardInterrupt:
        narrator.say("stopped")
        return INTERRUPTED
    except (ServerError, httpx.HTTPError, OSError) as error:
        print(f"\nedgefleet demo: {error}\nEverything that was printed is in {folder / 'logs'}", file=sys.stderr)
        arguments.dir = folder  # keep it
        return FAILED
    finally:
        if arguments.dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def _demo(arguments: argparse.Namespace, folder: Path, narrator: Narrator) -> int:
    where = layout.Layout(folder)
    ports = (free_port(), arguments.port or free_port())
    layout.write(where, *ports)
    fleet = Fleet(f"http://127.0.0.1:{ports[1]}")
    environment = {"EDGEFLEET_PASSPHRASE_FILE": str(where.passphrase), "OMP_NUM_THREADS": "1"}
    with Processes(where.logs, environment) as processes:
        job = Job(where, arguments.work or folder / "work", processes, narrator, fleet, ports)
        job.compress()
        job.trust()
        first = job.sign(GOOD_FIRST)
        # Leaving ends the parts before their broker, so that each can say goodbye.
        with job.broker(arguments.broker), processes:
            job.start_parts()
            names = _acts(job, where, processes, narrator, first)
            outcome = job.outcome(GOOD_NEXT)
            promises = expectations.check(outcome, *names)
            _print(arguments, outcome, promises, narrator)
            if not arguments.once:
                narrator.plain(f"\nIt stays up: {fleet.url}    Ctrl-C ends it. Files: {folder}")
                wait_for("the end", lambda: False, processes, float("inf"), every_s=1.0)
    return DONE if all(row.kept for row in promises) else FAILED


def _acts(job: Job, where: layout.Layout, processes: Processes, narrator: Narrator, first: str) -> tuple[str, str, str]:
    """Roll out two good releases and two bad ones; return the names of the second good one and of the bad ones."""
    narrator.act(f"roll out {first}, half of each region first")
    load.know_answers(where, {first: GOOD_FIRST})
    job.show_plan(first)
    load.start(where, processes)
    job.roll_out(first)
    good = job.sign(GOOD_NEXT)
    load.know_answers(where, {first: GOOD_FIRST, good: GOOD_NEXT})
    narrator.act(f"roll out {good}, while requests keep coming")
    job.roll_out(good)
    wrong = job.sign(GOLDEN_WRONG)
    narrator.act(f"roll out {wrong}: signed like any other, but its golden answers are wrong")
    job.roll_out(wrong)
    slow = job.sign(TOO_SLOW)
    load.know_answers(where, {first: GOOD_FIRST, good: GOOD_NEXT, slow: TOO_SLOW})
    narrator.act(f"roll out {slow}: right and quick for golden inputs, slow for real ones")
    job.roll_out(slow)
    narrator.act(f"wait until every device runs {good}, and for {cast.MIN_REQUESTS} requests")
    job.until_on(good, 60)
    job.until_requests(cast.MIN_REQUESTS, 120)
    return good, wrong, slow


def _print(
    arguments: argparse.Namespace, outcome: Outcome, kept: tuple[expectations.Expectation, ...], narrator: Narrator
) -> None:
    narrator.plain("\n" + table(outcome) + "\n")
    for row in kept:
        narrator.plain(f"{'kept  ' if row.kept else 'BROKEN'}  {row.promise} ({row.figures})")
    if arguments.json:
        print(json.dumps(outcome.to_json()), flush=True)


def why_no_port(port: int) -> str | None:
    """Return why the page cannot be at `port`, in words, or None. Asked before minutes of work, not after."""
    if not 1 <= port <= 65535:
        return f"{port} is no port: write 1 to 65535, or leave it out for a free one"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return f"{port} cannot be had ({error.strerror}): name another, or leave it out for a free one"
    return None


def free_port() -> int:
    """Return a port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # Once: a second Ctrl-C while the parts are being ended would leave the rest of them running.
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgefleet demo",
        description="The whole job on this machine: train and compress a model, sign it, roll it out to four devices in two "
        "regions over MQTT, keep requests running, and send two bad releases after it. Exit codes: 0 every promise was "
        "kept, 1 one was not, 2 a part is missing or the port cannot be had, 130 interrupted.",
    )
    parser.add_argument("--once", action="store_true", help="end by itself instead of staying up")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output; words on standard error"
    )
    parser.add_argument(
        "--broker", choices=("mosquitto", "iotcore"), help="which broker (default: Mosquitto if installed)"
    )
    parser.add_argument("--port", type=int, help="of the page (default: a free one)")
    parser.add_argument("--dir", type=Path, help="keep everything in this folder (default: a temporary one)")
    parser.add_argument(
        "--work", type=Path, help="keep compression's finished steps here, and use those that are there"
    )
    return parser
