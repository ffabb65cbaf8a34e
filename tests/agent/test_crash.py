"""The whole job, cut at every write, fsync, rename and removal, SQLite's included.

One run goes through the job. Within each change that the agent makes to its disk, copies of the device are made as a
cut would leave them (nothing lost, all lost that was not fsynced, random parts lost and torn), each is booted without
network, then with it, and must converge. The promises that must hold are the methods of `Promises`.

The mutation test ignores one fsync after the other: each must break a promise, or it need not be in the code.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from edgefleet_agent.store.disk import SITES, Site
from edgefleet_agent.store.outbox import Outbox, key_of
from edgefleet_protocol.codec import decode
from edgefleet_protocol.messages import DeviceState, Presence
from edgefleet_protocol.rollout import Governor, Policy
from edgefleet_protocol.telemetry import DeviceWindow, TelemetryBatch
from edgefleet_protocol.topics import Topics
from tests.fakes.clock import FakeClock
from tests.fakes.device import (
    DEVICE,
    FLEET,
    STATE,
    FakeDevice,
    FakeHub,
    Package,
    assign,
    failed,
    fleet,
    package,
    proven,
)
from tests.fakes.disk import ALL_LOST, NOTHING_LOST, FakeConnection, FakeDisk, Fate, File, Folder, some_lost
from tests.fakes.launcher import Behaviour
from tests.fakes.link import FakeBroker

TOPICS = Topics(FLEET)
OFFLINE_TURNS = 8
KILLED_THEN_CUT = Fate("killed, and cut after it had gone on", 1.0)


VOICE = package(1, model="voice")
"""The second model: installed beside the first, and served on through all that happens to it."""
SECOND = package(
    2, {"best": 0.95, "small": 0.9, "tiny": 0.85}, wrong=("best",), memory={"best": 9000, "small": 8000, "tiny": 4000}
)
GOVERNED = Policy(
    telemetry_interval_s=10.0,
    governor=Governor(max_temperature_c=80.0, after_s=5.0, climb_after_s=5.0, dwell_s=10.0),
)


def runs(variant: str) -> Callable[[FakeDevice], bool]:
    """Return whether a variant of the first model serves, and the governor is where it wants to be."""

    def holds(device: FakeDevice) -> bool:
        worker = device.launcher.answering("fashion")
        return worker is not None and worker.spec.variant == variant

    return holds


@dataclass
class Job:
    """The job: install, update, a release that fails its trial in one variant, one that falls back, time offline."""

    device: FakeDevice
    hub: FakeHub
    goal: Callable[[FakeDevice], bool] = lambda device: True
    allowed: tuple[str, ...] = ()
    """Releases that may serve in this phase."""
    stored: frozenset[tuple[str, float]] = frozenset()

    def phases(self) -> list[Callable[[], None]]:
        return [self.install, self.update, self.step_down, self.climb_back, self.offline, self.fall_back]

    def _wish(
        self, wanted: Package, goal: Callable[[FakeDevice], bool], *allowed: str, policy: Policy | None = None
    ) -> None:
        self.goal, self.allowed = (lambda device: goal(device) and proven(VOICE)(device)), allowed
        self.hub.publish(wanted, VOICE)
        self.hub.roll_out(assign(wanted), assign(VOICE), policy=policy)
        self.device.run(until=self.goal)

    def step_down(self) -> None:
        """Heat: the governor moves to a variant that was not fetched yet."""
        self.device.probe.window = DeviceWindow(temperature_c=90.0)
        self._wish(SECOND, runs("tiny"), "fashion/1", "fashion/2", policy=GOVERNED)

    def climb_back(self) -> None:
        self.device.probe.window = DeviceWindow(temperature_c=40.0)
        self._wish(SECOND, runs("small"), "fashion/2", policy=GOVERNED)

    def install(self) -> None:
        first = package(1)
        self._wish(first, proven(first), "fashion/1")

    def update(self) -> None:
        self._wish(SECOND, proven(SECOND), "fashion/1", "fashion/2")

    def offline(self) -> None:
        """Long without the broker: windows go to disk. Then the agent is ended and started again."""
        self.device.broker.reachable = False
        self.device.broker.cut()
        self.device.run(turns=8)
        self.stop()
        self.device.clock.advance(5)
        self.device.boot().run(turns=8)
        self.stop()
        self.device.broker.reachable = True
        self.device.boot().run(turns=12)

    def stop(self) -> None:
        """End in good order. What the outbox then holds was given its word for."""
        self.device.stop()
        self.stored |= stored_windows(self.device.disk)

    def fall_back(self) -> None:
        third = package(3)
        self.device.behaviours[third.variant_sha256("small")] = Behaviour(errors_percent=50)
        self._wish(third, failed(third), "fashion/2", "fashion/3")
        self.device.run(until=lambda device: device.serving() == "fashion/2")
        self.stop()


class Broken(Exception):
    """A promise that was not kept after a cut."""


@dataclass
class Promises:
    """What a device has told or been given, and must hold to after a cut."""

    told: DeviceState | None
    session: int
    kept_chunks: frozenset[str]
    windows: frozenset[tuple[str, float]]
    arrived: frozenset[tuple[str, float]]
    served: bool

    def check_at_boot(self, device: FakeDevice) -> None:
        """What was told is still known."""
        facts, trust = device.agent.store.facts.facts, device.agent.store.facts.trust
        if self.told is None:
            return
        for role, version in self.told.trust.items():
            if trust.versions.get(role, 0) < version:
                raise Broken(f"trust in {role} fell from {version} to {trust.versions.get(role)}")
        if facts.assignment_number < self.told.assignment_number:
            raise Broken("the assignment was forgotten")
        for model in self.told.models:
            known = {(row.release, row.variant, row.stage) for row in facts.model(model.model).failures}
            for row in model.failures:
                if (row.release, row.variant, row.stage) not in known:
                    raise Broken(f"the failure of {row.release} {row.variant} was forgotten")

    def check_turn(self, device: FakeDevice, turn: int, allowed: tuple[str, ...], has_served: bool) -> bool:
        """An old or the new model is there: soon after the boot, and from then on."""
        serving = device.serving()
        if serving is not None and serving not in allowed:
            raise Broken(f"{serving} serves and only {allowed} may")
        if serving is None and (has_served or (self.served and turn >= OFFLINE_TURNS)):
            raise Broken(f"nothing serves at turn {turn}")
        session = device.link.connected_session()
        if session is not None and session <= self.session:
            raise Broken(f"session {session} comes again after {self.session}")
        return serving is not None

    def check_at_end(self, device: FakeDevice) -> None:
        """Nothing was fetched twice or had to be rebuilt, no stored window is missing."""
        again = {
            TOPICS.parse(topic).name
            for topic in device.broker.delivered
            if "/chunk/" in topic and TOPICS.parse(topic).name in self.kept_chunks
        }
        if again:
            raise Broken(f"{len(again)} chunks were fetched again that had been kept")
        if rebuilt := {"restored", "damaged", "store-damaged"} & set(device.kinds()):
            raise Broken(f"a document or an active slot was not whole after the cut: {rebuilt}")
        missing = self.windows - self.arrived - windows_in(device.broker)
        if missing:
            raise Broken(f"{len(missing)} stored windows never arrived")


def windows_in(broker: FakeBroker) -> frozenset[tuple[str, float]]:
    """Return the names of all windows that a broker took."""
    found = set()
    for payload in broker.payloads(f"/telemetry/{DEVICE}"):
        for window in decode(zlib.decompress(payload), TelemetryBatch).windows:
            found.add((window.boot, window.started_monotonic_s))
    return frozenset(found)


def stored_windows(disk: FakeDisk) -> frozenset[tuple[str, float]]:
    """Return the names of the windows in the outbox, read from a copy of the disk."""
    copy = disk.survivor(NOTHING_LOST)
    outbox = Outbox(copy, STATE / "outbox", connect=lambda path: FakeConnection(copy, path))
    try:
        return frozenset(key_of(window) for window in outbox.oldest(1000))
    finally:
        outbox.close()


def unsettled(node: Folder | File) -> bool:
    """Return whether a cut could lose anything."""
    if node.pending:
        return True
    return isinstance(node, Folder) and any(unsettled(one) for one in node.entries.values())


@dataclass
class Cutter:
    """Runs the job once, and cuts copies of the device at every operation."""

    fates: tuple[Fate, ...]
    ignore: frozenset[Site] = frozenset()
    stop_at_first: bool = False
    points: int = 0
    boots: int = 0
    broken: list[str] = field(default_factory=list)
    kept: frozenset[str] = frozenset()
    arrived: frozenset[tuple[str, float]] = frozenset()
    operations: dict[str, int] = field(default_factory=dict)

    def run(self) -> "Cutter":
        device, hub = fleet()
        device.disk.ignore = self.ignore
        self.job = Job(device, hub)
        device.disk.hook = self.cut
        device.after_turn = self.after_turn
        self.after_turn(device.boot())
        for phase in self.job.phases():
            if not (self.stop_at_first and self.broken):
                phase()
        return self

    def after_turn(self, device: FakeDevice) -> None:
        """Note what the finished turn gave its word for."""
        store = device.agent.store
        self.kept = frozenset(store.chunks._here)
        self.arrived = windows_in(device.broker)

    def cut(self, disk: FakeDisk, operation: str, path: str) -> None:
        if self.stop_at_first and self.broken:
            return
        self.points += 1
        kind = operation.split()[0]
        self.operations[kind] = self.operations.get(kind, 0) + 1
        fates = self.fates if unsettled(disk.root) else (NOTHING_LOST,)
        for fate in fates:
            try:
                if fate is KILLED_THEN_CUT:
                    # The agent dies alone, comes back and goes on; only then the power goes.
                    second = self.boot_from(disk.killed())
                    self.boot_from(second.disk.survivor(ALL_LOST), windows_in(second.broker))
                else:
                    self.boot_from(disk.survivor(fate))
            except Exception as error:  # whatever goes wrong after a cut is what this test looks for
                where = f"cut {self.points} in {self.job.allowed}, {operation} {path}, {fate.name}"
                self.broken.append(f"{where}: {type(error).__name__}: {error}")
                if self.stop_at_first:
                    return

    def boot_from(self, disk: FakeDisk, arrived: frozenset[tuple[str, float]] = frozenset()) -> FakeDevice:
        """Boot what a cut left, without network at first, and see it converge.

        arrived: names of windows that arrived after an earlier boot of the same device.
        """
        self.boots += 1
        outer = self.job.device
        presence = outer.broker.retained.get(TOPICS.of_device(DEVICE, "presence"))
        told = outer.state()
        in_store = frozenset(outer.agent.store.chunks._here) if hasattr(outer, "agent") else frozenset()
        promises = Promises(
            told=told,
            session=decode(presence, Presence).session if presence else -1,
            kept_chunks=self.kept & in_store,
            windows=self.job.stored,
            arrived=self.arrived | arrived,
            served=told is not None and any(row.running for row in told.models),
        )
        broker = FakeBroker(retained=dict(outer.broker.retained), reachable=False)
        device = FakeDevice(broker, disk, FakeClock(outer.clock.wall + 60, 5.0), behaviours=outer.behaviours)
        device.probe.window = outer.probe.window
        device.boot()
        promises.check_at_boot(device)
        has_served = False
        for turn in range(150):
            if turn == OFFLINE_TURNS or (turn == 1 and not promises.served):
                broker.reachable = True
            device.turn()
            has_served = promises.check_turn(device, turn, self.job.allowed, has_served) or has_served
            if turn > OFFLINE_TURNS and self.job.goal(device) and device.agent.telemetry.outbox.count() == 0:
                break
        else:
            raise Broken(f"it did not converge: {device.model()}")
        promises.check_at_end(device)
        return device


def test_the_whole_job_cut_at_every_operation_converges_and_an_old_or_the_new_model_is_there() -> None:
    cutter = Cutter((NOTHING_LOST, ALL_LOST, some_lost(1), some_lost(2), KILLED_THEN_CUT)).run()

    print(
        f"\n{cutter.points} cut points ({cutter.operations}), {cutter.boots} boots, {len(cutter.broken)} broken promises"
    )
    assert cutter.broken == []
    assert cutter.points > 200
    assert {"write", "fsync", "rename", "append", "mkdir", "unlink", "sqlite"} <= set(cutter.operations)


def test_every_fsync_is_needed_for_without_it_a_promise_breaks() -> None:
    caught: dict[Site, str] = {}
    for site in SITES:
        cutter = Cutter((ALL_LOST, KILLED_THEN_CUT), frozenset({site}), stop_at_first=True).run()
        caught[site] = cutter.broken[0] if cutter.broken else ""
        print(f"without {site}: {caught[site] or 'NOT CAUGHT'}")
    assert [site for site, how in caught.items() if not how] == []
