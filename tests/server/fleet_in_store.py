"""A server without a broker whose devices are rows that a test writes: what they say, and what they measured."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgefleet_protocol.audience import wish_for
from edgefleet_protocol.codec import encode
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState, Failure, ModelState, Running
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import ModelWindow, Window
from edgefleet_server.app import Server
from edgefleet_server.rollouts.evidence import joined
from edgefleet_server.store import devices, rollups
from edgefleet_server.store.rollouts import Record
from edgefleet_server.store.windows import Placed, Ready, keep, ready
from tests.fakes.repository import PASSPHRASE, FakeRepository
from tests.fakes.scripted_device import PI4

from .conftest import MakeServer

WEST = "eu-west"


@dataclass
class Clock:
    """The server's time, moved by hand."""

    at: float

    def now(self) -> float:
        return self.at


@dataclass
class StoredFleet:
    """Devices of one region. `turn` lets a second pass and the controller look once."""

    server: Server
    clock: Clock
    repo: FakeRepository
    names: list[str] = field(default_factory=list)
    hardware: dict[str, Hardware] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)

    def add(self, names: Iterable[str], hardware: Hardware = PI4, region: str = WEST) -> None:
        """Devices that are online and run nothing yet."""
        for name in names:
            self.names.append(name)
            self.hardware[name] = hardware
            self.say(name, region=region)

    def say(
        self,
        name: str,
        *,
        proven: bool = True,
        failed: str = "",
        region: str = WEST,
        live: bool = True,
        tags: tuple[str, ...] = (),
    ) -> None:
        """Write the state of a device: what it runs, and what failed there."""
        runs, wish = self.running.get(name), self.wanted.get(name, "")
        running = None
        if runs:
            running = Running(
                release=runs,
                release_sha256=self.repo.ref(runs).sha256,
                variant="fp32",
                variant_sha256="c" * 64,
                since_s=0.0,
                proven=proven,
            )
        failures = ()
        if failed:
            failures = (
                Failure(
                    release=failed,
                    release_sha256=self.repo.ref(failed).sha256,
                    variant="fp32",
                    stage="trial",
                    reason="answers differ",
                    at_s=0.0,
                ),
            )
        model = ModelState(
            model="fashion",
            phase="proven" if running else "fetching",
            why="as it is",
            wanted_sha256=self.repo.ref(wish or runs).sha256 if wish or runs else None,
            running=running,
            failures=failures,
        )
        state = DeviceState(
            device=name,
            session=1,
            boot="b",
            at_s=self.clock.at,
            agent_version="0.1.0",
            region=region,
            tags=tags,
            hardware=self.hardware[name],
            models=(model,) if running or failures or wish else (),
        )
        with self.server.database.write() as connection:
            devices.put_state(connection, state, encode(state), self.clock.at, live=live)
            devices.put_presence(connection, name, 1, live, self.clock.at, live=live)

    def switch(self, release: str, names: Iterable[str] | None = None) -> None:
        """Let devices run a release, proven."""
        for name in self.names if names is None else names:
            self.running[name] = self.wanted[name] = release
            self.say(name)

    def admitted(self) -> list[str]:
        """The devices that the signed document lets in to the newest release."""
        document = self.server.repository.rollout(WEST)
        if document is None:
            return []
        first = document.assignments[0].release.sha256
        with self.server.database.read() as connection:
            known = {row.id: row for row in devices.every(connection, WEST)}
        found = []
        for name in sorted(known):
            wish, _ = wish_for(
                "fashion",
                name,
                known[name].tags,
                self.hardware[name].hardware_class,
                document,
                joined(known[name].joined_s),
            )
            if wish is not None and wish.release.sha256 == first:
                found.append(name)
        return found

    def measure(
        self, names: Iterable[str], seconds: float, *, windows: int = 3, requests: int = 60, errors: int = 0
    ) -> None:
        """Let devices serve: `windows` windows of a minute each, with a spread of some percent from device to device."""
        made: list[Ready] = []
        since_s = round(self.clock.at - self.repo.now.timestamp())  # the noise of one run is that of every other
        for step in range(windows):
            for name in names:
                own = random.Random(f"{name} {self.running[name]}")
                mine = seconds * (1 + 0.2 * random.Random(name).random()) * own.gauss(1.0, 0.02)
                sketch, noise = SketchBuilder(), random.Random(f"{name} {since_s} {step}")
                for _ in range(requests):
                    sketch.add(mine * noise.lognormvariate(0, 0.1))
                row = ModelWindow(
                    model="fashion",
                    release=self.running[name],
                    release_sha256=self.repo.ref(self.running[name]).sha256,
                    variant="fp32",
                    requests=requests,
                    errors=errors,
                    latency=sketch.build(),
                    memory_bytes=40_000_000,
                )
                at_s = self.clock.at + 60 * step
                window = Window(start_s=at_s, seconds=60.0, boot="b", started_monotonic_s=at_s, models=(row,))
                made.append(ready(Placed(name, window, at_s), at_s))
        with self.server.database.write() as connection:
            rollups.add(connection, keep(connection, made), self.clock.at)
        self.clock.at += 60 * windows
        for name in names:
            self.say(name)

    def turn(self, times: int = 1) -> Record:
        """Look, `times` times."""
        for _ in range(times):
            self.clock.at += 11.0
            self.server.controller.turn()
        return self.record

    @property
    def record(self) -> Record:
        """The rollout of the region."""
        (found,) = self.server.controller.current(WEST)
        return found


def make_fleet(make_server: MakeServer, repo: FakeRepository, count: int = 0, **config: object) -> StoredFleet:
    """A server with a clock of its own, and `count` devices."""
    other = make_server(1, **config)
    other.database.close()
    clock = Clock(repo.now.timestamp())
    fleet = StoredFleet(Server(other.config, PASSPHRASE, clock), clock, repo)
    fleet.add(f"pi-{number:02}" for number in range(count))
    return fleet
