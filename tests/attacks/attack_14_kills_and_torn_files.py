"""The device is killed at every file operation of a look and of storing it; its files are torn, lost, foreign; the disk is full."""

import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from edgefleet_agent.look import look
from edgefleet_agent.seams import Looked, LookRequest, Missing, Refused
from edgefleet_agent.store.disk import Disk
from edgefleet_agent.store.facts import FactStore
from tests.attacks.report import must
from tests.attacks.scene import WEST, Scene, next_rollout
from tests.fakes.signed_world import World

EXPECTED = (
    "old or new state, never less: a replay is refused wherever the new one was stored, the honest state believed"
)
WATCHED = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
FULL_AT = (0, 50, 400, 1_000, 2_000, 4_000, 8_000)
_armed: list[tuple[str, int]] = []
_seen = [0]


def run(folder: Path) -> str:
    """Let children do the device's own steps and end them in the middle; then look at what is left."""
    scene = Scene(folder)
    device = _Device(scene, folder)
    device.step(scene.world.held)
    shutil.copytree(device.state, folder / "first")
    before, first = dict(scene.world.held), device.version()
    next_rollout(scene.world, scene.repo.ref("fashion/1"))
    sys.addaudithook(_hook)
    number = kept = 0
    while True:
        device.reset(folder / "first")
        number += 1
        if _in_child(partial(device.killed_step, scene.world, number)) != -signal.SIGKILL:
            break
        must(device.version() in (first, first + 1), f"killed at operation {number}: version {device.version()}")
        kept += device.check(scene.world, before, first, f"killed at operation {number}")
    must(device.version() == first + 1, "the step that was not killed did not store anything")
    torn = _tear(device, scene.world, before, folder)
    full = 0
    for limit in FULL_AT:
        device.reset(folder / "first")
        full += _in_child(partial(device.full_step, scene.world, limit)) == 1
        device.check(scene.world, before, first, f"a disk that takes {limit} bytes")
    must(full >= 3, "the disk was never full")
    return f"killed at {number - 1} operations ({kept} after the new state was stored), {torn} torn or foreign files, {full} full disks"


class _Device:
    """The durable trust of a device, and the steps that the agent takes with it."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.root, self.targets = scene.repo.root, scene.world.targets
        self.state, self.scratch = folder / "state", scene.scratch
        (self.state / "documents").mkdir(parents=True)

    def facts(self) -> FactStore:
        return FactStore(Disk(), self.state)

    def version(self) -> int:
        return self.facts().trust.versions.get("timestamp", 0)

    def ask(self, held: "dict[str, bytes]") -> Looked | Missing | Refused:
        trust = self.facts().trust
        now = datetime.now(timezone.utc)
        return look(LookRequest(self.root, trust.cache, trust.memory(), held, self.targets, WEST, now), self.scratch)

    def step(self, held: "dict[str, bytes]") -> None:
        answer = self.ask(held)
        must(isinstance(answer, Looked), f"the honest state was not believed: {answer}")
        assert isinstance(answer, Looked)
        self.facts().put_looked(answer, WEST, held["timestamp.json"], held["head"])

    def killed_step(self, world: World, number: int) -> None:
        _armed[:] = [(str(self.state.parent), number)]
        self.step(world.held)

    def full_step(self, world: World, most: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        self.step(world.held)

    def reset(self, to: Path) -> None:
        shutil.rmtree(self.state)
        shutil.copytree(to, self.state)
        for leaving in self.scratch.iterdir():
            shutil.rmtree(leaving)

    def check(self, world: World, before: "dict[str, bytes]", first: int, what: str) -> bool:
        """The honest state is believed, and what was before is refused once the new one was stored."""
        new = self.version() > first
        if new:
            answer = self.ask(before)
            must(isinstance(answer, Refused) and "rollback" in answer.reason, f"{what}: the replay gave {answer}")
        self.step(world.held)
        must(self.version() == first + 1, f"{what}: it did not come back")
        return new


def _tear(device: _Device, world: World, before: "dict[str, bytes]", folder: Path) -> int:
    """Tear the document and every file of the cache in it; put a stranger's in their place."""
    whole = (device.state / "trust.json").read_bytes()
    stranger = Scene(folder / "stranger")
    other = _Device(stranger, folder / "stranger")
    other.step(stranger.world.held)
    foreign = (other.state / "trust.json").read_bytes()
    for body in (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], b"\0" * 4096, b"{}", foreign):
        (device.state / "trust.json").write_bytes(body)
        device.step(world.held)
        answer = device.ask(stranger.world.held)
        must(isinstance(answer, Refused), f"a stranger's repository was believed after a torn file: {answer}")
    count = 7
    cache = dict(device.facts().trust.cache)
    strange = dict(other.facts().trust.cache)
    for name, data in cache.items():
        for torn in (None, b"", data[: len(data) // 2], b"\xff" * 100, strange.get(name, b"{}")):
            spoiled = {key: value for key, value in cache.items() if key != name}
            if torn is not None:
                spoiled[name] = torn
            for held, good in ((world.held, True), (before, False), (stranger.world.held, False)):
                now, memory = datetime.now(timezone.utc), device.facts().trust.memory()
                request = LookRequest(device.root, spoiled, memory, held, device.targets, WEST, now)
                answer = look(request, device.scratch)
                must(isinstance(answer, Looked) == good, f"{name} torn: {str(answer)[:200]}")
            count += 1
    return count


def _hook(event: str, arguments: "tuple[object, ...]") -> None:
    if not _armed or event not in WATCHED:
        return
    place, number = _armed[0]
    if any(isinstance(one, str | bytes | os.PathLike) and os.fsdecode(one).startswith(place) for one in arguments):
        _seen[0] += 1
        if _seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)


def _in_child(what: Callable[[], None]) -> int:
    """Do it in a process of its own; return its exit code: 0 done, 1 OSError, below 0 a signal."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            what()
            code = 0
        except OSError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
