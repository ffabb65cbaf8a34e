"""The whole job, cut at every write, fsync, rename and removal, SQLite's included.

One run goes through the job. Within each change that the agent makes to its disk, copies of the device are made as a
cut would leave them (nothing lost, all lost that was not fsynced, random parts lost and torn), each is booted without
network, then with it, and must converge. The promises that must hold are the methods of `Promises`.

The mutation test ignores one fsync after the other: each must break a promise, or it need not be in the code.

`make test` runs a sample of both; `make crash` runs the whole, behind the marker `crash`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from edgefleet_agent.rules.seen import Lease
from edgefleet_agent.store import owner
from edgefleet_agent.store.disk import SITES, Site
from edgefleet_agent.store.outbox import Outbox, key_of
from edgefleet_protocol.codec import decode
from edgefleet_protocol.manifest import Requirement
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
SERVES_WITHIN_S = 60.0
"""Of the device's own clock: how long a model may be away that served before the cut."""
MODELS = ("fashion", "voice")
MB = 1_000_000
KILLED_THEN_CUT = Fate("killed, and cut after it had gone on", 1.0)


FROM_2_TO_3 = ("fashion/2", "fashion/3")
VOICE = package(1, model="voice")
"""The second model: installed beside the first, and served on through all that happens to it."""
SECOND = package(
    2, {"best": 0.95, "small": 0.9, "tiny": 0.85}, wrong=("best",), memory={"best": 9000, "small": 8000, "tiny": 4000}
)
LARGE = Requirement(load_s=5.0, memory_bytes=70 * MB)
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
class Leased:
    """Applications that may not be interrupted, in the place of those that the agent finds below RUN."""

    rows: tuple[Lease, ...]

    def of(self, model: str) -> tuple[Lease, ...]:
        """Only the first model's."""
        return self.rows if model == "fashion" else ()

    def prepare(self, model: str) -> None:
        """Nothing to prepare."""


@dataclass
class Job:
    """The job: install, update (one variant fails its trial), the governor down and up, an update that waits for a lease,
    one that a pin holds back, one for which there is no memory beside the old one, time offline, and a fall-back.
    """

    device: FakeDevice
    hub: FakeHub
    goal: Callable[[FakeDevice], bool] = lambda device: True
    allowed: tuple[str, ...] = ()
    """Releases that may serve in this phase."""
    stored: frozenset[tuple[str, float]] = frozenset()
    gaps: bool = False
    """Whether a model may be away for a moment in this phase: it makes room for the next."""
    phase: str = ""

    def phases(self) -> list[Callable[[], None]]:
        return [
            self.install,
            self.update,
            self.step_down,
            self.climb_back,
            self.leased,
            self.pinned,
            self.instead,
            self.offline,
            self.fall_back,
        ]

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

    def leased(self) -> None:
        """The next release waits until an application lets go. A cut takes the lease away with the application."""
        third = package(3)
        real, now = self.device.agent.leases, self.device.clock.mono
        self.device.agent.leases = Leased((Lease(71, "camera", now + 10_000),))  # type: ignore[assignment]
        self.goal, self.allowed = (lambda device: proven(third)(device) and proven(VOICE)(device)), FROM_2_TO_3
        self.hub.publish(third, VOICE)
        self.hub.roll_out(assign(third), assign(VOICE))
        self.device.run(until=lambda device: bool((row := device.model()) and row.leases))
        assert self.device.serving() == "fashion/2"
        self.device.agent.leases = real
        self.device.run(until=self.goal)

    def pinned(self) -> None:
        """The owner pins what runs; the region wishes another. It comes once the owner lets go, and not before."""
        third, fourth = package(3), package(4)
        pin = owner.Pin(release="fashion/3", release_sha256=third.sha256, by="ana", since_s=self.device.clock.wall)
        owner.write(self.device.disk, STATE, owner.Hands(pins={"fashion": pin}))
        self._wish(fourth, lambda device: device.serving() == "fashion/3", "fashion/3")
        self.device.run(turns=12)
        self.allowed = ("fashion/3", "fashion/4")
        # Cut within this write, the device is still pinned, or not any more.
        self.goal = lambda device: device.serving() in self.allowed
        owner.write(self.device.disk, STATE, owner.Hands(released={"fashion": self.device.clock.wall}))
        self._wish(fourth, proven(fourth), "fashion/3", "fashion/4")

    def instead(self) -> None:
        """There is no memory for two: the worker that serves ends before the next is tried."""
        fifth = package(5, requires=LARGE)
        self.gaps, self.device.probe.memory_bytes = True, 160 * MB
        self._wish(fifth, proven(fifth), "fashion/4", "fashion/5")
        assert "stood-aside" in self.device.kinds()
        self.gaps, self.device.probe.memory_bytes = False, None

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
        sixth = package(6)
        self.device.behaviours[sixth.variant_sha256("small")] = Behaviour(errors_percent=50)
        self._wish(sixth, failed(sixth), "fashion/5", "fashion/6")
        self.device.run(until=lambda device: device.serving() == "fashion/5")
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
    served: frozenset[str]
    """Models that served before the cut."""
    gaps: bool
    seen: dict[str, float] = field(default_factory=dict)
    """When each model served last after the boot, by the device's monotonic clock."""

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

    def check_turn(self, device: FakeDevice, turn: int, allowed: tuple[str, ...], booted: float) -> None:
        """Of each model an old or the new release is there: soon after the boot, and from then on."""
        now = device.clock.monotonic()
        for model in MODELS:
            serving = device.serving(model)
            if serving is not None and serving not in (allowed if model == "fashion" else ("voice/1",)):
                raise Broken(f"{serving} serves and only {allowed} may")
            if serving is not None:
                self.seen[model] = now
            elif model in self.seen and not self.gaps:
                raise Broken(f"{model} is away again at turn {turn}")
            elif (model in self.seen or model in self.served) and now - self.seen.get(model, booted) > SERVES_WITHIN_S:
                raise Broken(f"{model} has been away for {now - self.seen.get(model, booted):.0f} s at turn {turn}")
        session = device.link.connected_session()
        if session is not None and session <= self.session:
            raise Broken(f"session {session} comes again after {self.session}")

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
    every: int = 1
    """Cut at each so-manieth operation only."""
    within: str = ""
    """Cut only in this phase of the job; in all of them when empty."""
    seen: int = 0
    points: int = 0
    boots: int = 0
    broken: list[str] = field(default_factory=list)
    kept: frozenset[str] = frozenset()
    arrived: frozenset[tuple[str, float]] = frozenset()
    served: frozenset[str] = frozenset()
    back_s: dict[str, float] = field(default_factory=dict)
    """The longest that each model was away after a cut."""
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
                self.job.phase = phase.__name__
                phase()
        return self

    def after_turn(self, device: FakeDevice) -> None:
        """Note what the finished turn gave its word for."""
        store = device.agent.store
        self.kept = frozenset(store.chunks._here)
        self.arrived = windows_in(device.broker)
        self.served |= {model for model in MODELS if device.serving(model)}

    def cut(self, disk: FakeDisk, operation: str, path: str) -> None:
        if (self.stop_at_first and self.broken) or self.within not in ("", self.job.phase):
            return
        self.seen += 1
        if self.seen % self.every:
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
                where = f"cut {self.seen} in {self.job.phase} of {self.job.allowed}, {operation} {path}, {fate.name}"
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
            served=self.served,
            gaps=self.job.gaps,
        )
        broker = FakeBroker(retained=dict(outer.broker.retained), reachable=False)
        device = FakeDevice(broker, disk, FakeClock(outer.clock.wall + 60, 5.0), behaviours=outer.behaviours)
        device.probe.window, device.probe.memory_bytes = outer.probe.window, outer.probe.memory_bytes
        device.boot()
        promises.check_at_boot(device)
        booted = device.clock.monotonic()
        for turn in range(150):
            if turn == OFFLINE_TURNS or (turn == 1 and not promises.served):
                broker.reachable = True
            device.turn()
            first = {model for model in self.served if model not in promises.seen}
            promises.check_turn(device, turn, self.job.allowed, booted)
            for model in first & set(promises.seen):
                self.back_s[model] = max(self.back_s.get(model, 0.0), promises.seen[model] - booted)
            if turn > OFFLINE_TURNS and self.job.goal(device) and device.agent.telemetry.outbox.count() == 0:
                break
        else:
            raise Broken(f"it did not converge: {device.model()}")
        promises.check_at_end(device)
        return device


FATES = (NOTHING_LOST, ALL_LOST, some_lost(1), some_lost(2), KILLED_THEN_CUT)
EVERY = 11
"""A prime, so that the sample meets every kind of operation."""
WHERE: dict[Site, str] = {"chunk-file": "update", "chunk-folder": "update", "outbox": "offline"}
"""The phase in which the sample cuts to catch that an fsync lacks; the first one, where it is not here."""


def whole_job(every: int) -> Cutter:
    """Cut the job at each so-manieth operation, print the figures, and hold it to its promises."""
    cutter = Cutter(FATES, every=every).run()
    back = ", ".join(f"{model} within {s:.1f} s" for model, s in sorted(cutter.back_s.items()))
    print(
        f"\n{cutter.points} cut points ({cutter.operations}), {cutter.boots} boots, {len(cutter.broken)} broken "
        f"promises; served again: {back}"
    )
    assert cutter.broken == []
    assert set(cutter.back_s) == set(MODELS)
    return cutter


def caught(site: Site, within: str = "") -> str:
    """Return, in words, the first promise that breaks without the fsyncs of `site`; nothing when none does."""
    cutter = Cutter((ALL_LOST, KILLED_THEN_CUT), frozenset({site}), stop_at_first=True, within=within).run()
    how = cutter.broken[0] if cutter.broken else ""
    print(f"without {site}: {how or 'NOT CAUGHT'}")
    return how


def test_a_sample_of_the_cuts_converges_and_an_old_or_the_new_model_is_there() -> None:
    assert whole_job(every=EVERY).points > 50


@pytest.mark.parametrize("site", SITES)
def test_an_fsync_that_lacks_is_caught_in_one_phase_of_the_job(site: Site) -> None:
    assert caught(site, WHERE.get(site, "install"))


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_the_whole_job_cut_at_every_operation_converges_and_an_old_or_the_new_model_is_there() -> None:
    cutter = whole_job(every=1)
    assert cutter.points > 1000
    assert {"write", "fsync", "rename", "append", "mkdir", "unlink", "sqlite"} <= set(cutter.operations)


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_every_fsync_is_needed_for_without_it_a_promise_breaks() -> None:
    assert [site for site in SITES if not caught(site)] == []
