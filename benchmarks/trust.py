"""What a look at the trust metadata costs a device, for a list of 10 and of 1,000 releases; milliseconds of processor time.

A look is a short child process: its start (`child_start_ms`: interpreter, python-tuf, cryptography) and the look itself. The
figures of looks are the look alone, as `time.process_time` counts it in a process that has loaded everything; add the start.
`child_quiet_ms_1000` is a whole child, start included, as the kernel counts it, for who wants to check the sum.

`skipped_ms`: what a device really does when nothing changed and nothing expired, one turn of the trust part: no look.
`quiet_ms_N`: a full look at metadata that did not change. A device does it after a restart with other trust, or once something
expired; it is the least that a look can cost.
`daily_ms_N`: after the server's daily signature: new snapshot and timestamp, nothing else.
`new_release_ms_N`: a new release was listed and rolled out: list, rollout, manifest.
`cold_ms_N`: a new device, with an empty cache.
`baseline_ngclient_quiet_ms_N`, `baseline_ngclient_new_release_ms_N`: python-tuf's own client doing the same over the same bytes,
with none of our checks: refresh, and get_targetinfo of the key list, the rollout and the release. In the same run.
`wave_bytes`: what a device fetches for a rollout of a release that was listed before: timestamp, snapshot, role, document.
`new_release_bytes_N`: with the list of N releases and the manifest besides. Chunks of the model come on top of either.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from tuf.ngclient import Updater

from edgefleet_agent.knowledge import Knowledge
from edgefleet_agent.look import look
from edgefleet_agent.look_held import URL, Held
from edgefleet_agent.looker import ChildLooker
from edgefleet_agent.seams import Looked, LookRequest, Memory
from edgefleet_agent.store.facts import Trust
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.trust import COMMAND_KEYS_PATH, release_path, rollout_path
from tests.fakes.signed_world import World

from ._report import report

REGION = "eu-west"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="looks of each kind; the median counts (default 30)")
    runs = parser.parse_args().runs
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-trust-") as name:
        scratch = Path(name)
        figures["child_start_ms"] = _median(5, _start_ms)
        for releases in (10, 1000):
            figures |= {f"{what}_{releases}": value for what, value in _looks(releases, runs, scratch).items()}
    for name in ("skipped_ms", "wave_bytes"):
        figures[name] = max(figures.pop(f"{name}_10"), figures.pop(f"{name}_1000"))
    del figures["child_quiet_ms_10"]
    report("trust", figures)


def _looks(releases: int, runs: int, scratch: Path) -> dict[str, float]:
    world = World(regions=(REGION,))
    refs = [world.list_release("fashion", number) for number in range(1, releases + 1)]
    world.roll_out(REGION, refs[-1])
    world.online_round("releases", f"rollouts-{REGION}")
    request = LookRequest(
        root=world.anchor, cache={}, memory=Memory(), held=dict(world.held), targets=dict(world.targets), region=REGION,
        now=datetime.now(timezone.utc),
    )  # fmt: skip
    first = _believed(request, scratch)
    quiet = replace(request, cache=first.cache, memory=first.memory)
    out = {
        "cold_ms": _median(runs, lambda: _cpu_ms(lambda: _believed(request, scratch))),
        "quiet_ms": _median(runs, lambda: _cpu_ms(lambda: _believed(quiet, scratch))),
        "child_quiet_ms": _median(5, lambda: _child_ms(quiet, scratch)),
        "skipped_ms": _skipped_ms(world, first),
    }
    paths = [COMMAND_KEYS_PATH, rollout_path(REGION), release_path(f"fashion/{releases}")]
    out["baseline_ngclient_quiet_ms"] = _median(runs, _ngclient(request, first, paths, scratch))
    world.online_round()
    daily = replace(quiet, held=dict(world.held))
    out["daily_ms"] = _median(runs, lambda: _cpu_ms(lambda: _believed(daily, scratch)))
    before = {**world.held}
    world.roll_out(REGION, refs[0])
    world.online_round(f"rollouts-{REGION}")
    out["wave_bytes"] = _new_bytes(world, before) + len(world.targets[_document(world)])
    ref = world.list_release("fashion", releases + 1)
    world.roll_out(REGION, ref)
    before = {**world.held}
    world.online_round("releases", f"rollouts-{REGION}")
    new = replace(quiet, held=dict(world.held), targets=dict(world.targets))
    paths[2] = release_path(f"fashion/{releases + 1}")
    out["new_release_ms"] = _median(runs, lambda: _cpu_ms(lambda: _believed(new, scratch)))
    out["baseline_ngclient_new_release_ms"] = _median(runs, _ngclient(new, first, paths, scratch))
    document, manifest = world.targets[_document(world)], world.targets[ref.sha256]
    out["new_release_bytes"] = _new_bytes(world, before) + len(document) + len(manifest)
    return out


def _document(world: World) -> str:
    return str(world.roles[f"rollouts-{REGION}"].signed.targets[rollout_path(REGION)].hashes["sha256"])


def _new_bytes(world: World, before: "dict[str, bytes]") -> int:
    return sum(len(data) for name, data in world.held.items() if before.get(name) != data)


def _believed(request: LookRequest, scratch: Path) -> Looked:
    answer = look(request, scratch)
    if not isinstance(answer, Looked):
        sys.exit(f"the look did not pass: {answer}")
    return answer


def _ngclient(request: LookRequest, first: Looked, paths: "list[str]", scratch: Path) -> Callable[[], float]:
    """Return a measurement of python-tuf's client by itself, its cache as it would lie on the disk."""

    def once() -> float:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            folder = Path(name)
            (folder / "root_history").mkdir()
            for file, data in first.cache.items():
                (folder / ("root_history" if file.endswith(".root.json") else ".") / file).write_bytes(data)

            def refresh() -> None:
                client = Updater(name, URL, fetcher=Held(request.held, 1), bootstrap=request.root)
                client.refresh()
                if not all(client.get_targetinfo(path) for path in paths):
                    sys.exit("the baseline did not find what it looked for")

            return _cpu_ms(refresh)

    return once


def _skipped_ms(world: World, looked: Looked) -> float:
    """Processor time of the decision that nothing is to be looked at, as a turn makes it."""
    knowledge = Knowledge(metadata={name: world.held[name] for name in ("head", "timestamp.json")})
    trust = Trust(
        timestamp_sha256=sha256_hex(world.held["timestamp.json"]),
        head_sha256=sha256_hex(world.held["head"]),
        region=REGION,
        expires=looked.expires,
    )
    knowledge.note_looked(REGION)
    count, started = 1000, time.process_time()
    for _ in range(count):
        expired = trust.expires is not None and datetime.now(timezone.utc) >= trust.expires
        if knowledge.is_due(REGION, knowledge.verified(trust, REGION), expired, 0.0):
            sys.exit("a quiet device would look")
    return (time.process_time() - started) / count * 1e3


def _start_ms() -> float:
    before = _children_s()
    subprocess.run([sys.executable, "-c", "import edgefleet_agent.look_child"], check=True, cwd="/")
    return (_children_s() - before) * 1e3


def _child_ms(request: LookRequest, scratch: Path) -> float:
    before = _children_s()
    ChildLooker(scratch).look(request)
    return (_children_s() - before) * 1e3


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpu_ms(what: Callable[[], object]) -> float:
    started = time.process_time()
    what()
    return (time.process_time() - started) * 1e3


def _median(runs: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(runs))


if __name__ == "__main__":
    main()
