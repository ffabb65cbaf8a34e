"""The control agent: one turn at a time, no threads, no module state, so that many run in one process.

A turn: take what came, look if there is something to verify, do one step for each model, tell what changed. It returns
when to turn again. Everything that it must know after a cut is in the store; everything else it sees by looking.
"""

import contextlib

from msgspec.structs import replace

from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.codec import encode
from edgefleet_protocol.errors import BadChunk, BadName
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.messages import DeviceState, Need, Presence
from edgefleet_protocol.rollout import Policy, Rollout
from edgefleet_protocol.telemetry import Window as TelemetryWindow
from edgefleet_protocol.topics import Topics

from . import report, steps
from .conditions import Surroundings
from .config import Config
from .decide import decide
from .journal import Journal
from .link.window import Window
from .live import Live
from .looking import Looking
from .observe import Documents, Now, desired, models, observe
from .perform import Performer
from .seams import Clock, Launcher, Link, Looker, Message, Probe
from .slots import slot_name
from .store import Store
from .telemetry import Telemetry

BUILT_S = 1_764_028_800.0
"""2025-11-25: a clock before it is wrong. Each release of the agent moves it on."""
SESSIONS_PER_BOOT = 1_000_000
"""A session's number is the count of starts times this, plus the reconnects since: no number comes twice."""
MAX_STEPS = 64
"""Steps of one model in one turn; more would mean that two rules undo each other."""
SENSE_EVERY_S = 5.0
IDLE_TURN_S = 30.0
FALL_QUIET_S = 60.0
"""A worker that lived so long is no longer in a crash loop."""
COLLECT_EVERY_S = 3600.0
COLLECT_AFTER = (steps.NoteTrial, steps.Activate, steps.Prove, steps.Fail, steps.FallBack, steps.Choose)
"""Steps after which something may no longer be needed."""


class Agent:
    """One device. `turn` never blocks for long and never raises for what the world does."""

    def __init__(
        self, clock: Clock, link: Link, store: Store, launcher: Launcher, probe: Probe, looker: Looker, config: Config
    ) -> None:
        self.clock, self.link, self.store, self.launcher = clock, link, store, launcher
        self.probe, self.config = probe, config
        self.topics = Topics(config.fleet)
        self.documents = Documents(store)
        self.journal = Journal(config.device, clock, store)
        self.looking = Looking(config, self.topics, link, store, looker, self.journal)
        self.knowledge = self.looking.knowledge
        self.window = Window()
        self.telemetry = Telemetry(config.device, store.outbox)
        self.lives: dict[str, Live] = {}
        self.told: dict[str, report.Told] = {}
        self.hardware: Hardware | None = None
        self._performer: Performer | None = None
        self._session: int | None = None
        self._sensed: tuple[float, Surroundings] | None = None
        self._window_began: tuple[float, float] | None = None
        self._events_sent: dict[int, int] = {}
        self._published = ("", "", 0.0)
        self._collect_at = 0.0
        self._linked = False
        self.state: DeviceState | None = None
        """The last state that was told, for `status`."""

    # --- the turn

    def turn(self, now: float) -> float:
        """Do what there is to do; return when to turn again. Both are monotonic seconds."""
        if self._performer is None:
            self._start(now)
        moment, wakes = self._moment(now), [now + IDLE_TURN_S]
        if self._linked:
            self._greet(now)
            self._take(self.link.receive(), now)
            self._acknowledge()
            wakes.append(self._look(moment))
        wakes += [self._model_turn(model, moment) for model in self._models()]
        if not self._linked:
            self._connect()  # serve first, then connect
            wakes.append(now)
        self._collect(now)
        self._fetch(now)
        self._close_window(moment)
        self._tell_state(moment)
        if self._linked and self.link.connected_session() is not None:
            self._publish(moment)
        return self._wake(now, wakes)

    def stop(self, now: float) -> None:
        """End in good order: telemetry to disk, workers down, a last word to the broker."""
        if self._performer is None:
            return
        self._close_window(self._moment(now), at_once=True)
        self.telemetry.store()
        self.store.outbox.close()
        self._put_quietly()
        for live in self.lives.values():
            for process in (live.server, live.candidate, live.leaving):
                if process is not None:
                    process.worker.stop(self.config.serve.drain_s)
            if live.trial is not None:
                live.trial[1].stop()
        if self._linked:
            if self._session is not None:
                self._say_presence(online=False)
            self.link.stop()

    # --- start

    def _start(self, now: float) -> None:
        self.hardware = self.probe.hardware()
        self._performer = Performer(
            journal=self.journal,
            store=self.store,
            launcher=self.launcher,
            documents=self.documents,
            hardware=self.hardware,
            threads=self.config.serve.threads,
            drain_s=self.config.serve.drain_s,
            golden_deadline_s=self.config.serve.golden_deadline_s,
        )
        self.knowledge.looked_at = now
        self._window_began = (now, self.clock.now())
        facts = self.store.facts.facts
        try:
            self.store.facts.put(replace(facts, boots=facts.boots + 1))
        except OSError:
            # A full disk must not keep a device from serving; the number is stored with the next fact.
            self.store.facts.put_later(replace(facts, boots=facts.boots + 1))
        for problem in self.store.facts.problems:
            self.journal.tell("store-damaged", problem)

    def _connect(self) -> None:
        first = self.store.facts.facts.boots * SESSIONS_PER_BOOT
        self.link.start(first, self.topics.of_device(self.config.device, "presence"), self._will)
        self._linked = True

    def _will(self, session: int) -> bytes:
        return encode(Presence(device=self.config.device, session=session, online=False))

    # --- the link

    def _greet(self, now: float) -> None:
        """A new session knows nothing of us: subscribe, tell that we are here, forget what was under way."""
        session = self.link.connected_session()
        if session is None or session == self._session:
            return
        self._session = session
        self.window.forget()
        self.telemetry.new_session()
        self._events_sent.clear()
        self._published = ("", "", 0.0)
        own = [self.topics.of_device(self.config.device, "assignment")]
        own += [self.topics.trust("head"), self.topics.trust("timestamp.json")]
        self.link.subscribe(own, qos=1)
        self.link.subscribe(self.looking.topics_of(self.knowledge.new_session(now)))
        self._say_presence(online=True)

    def _say_presence(self, *, online: bool) -> None:
        presence = Presence(device=self.config.device, session=self._session or 0, online=online)
        self.link.publish(self.topics.of_device(self.config.device, "presence"), encode(presence), retain=True)

    def _take(self, messages: list[Message], now: float) -> None:
        received = 0
        for message in messages:
            try:
                parsed = self.topics.parse(message.topic)
            except BadName:
                continue
            if parsed.kind == "chunk":
                received += self._take_chunk(parsed.name, message.payload, now)
            elif parsed.kind in ("trust", "target"):
                if self.knowledge.came(parsed.kind, parsed.name, message.payload):
                    self.link.unsubscribe([message.topic])
            elif parsed.kind == "assignment" and parsed.name == self.config.device:
                self.knowledge.envelope = message.payload
        try:
            self.store.chunks.settle()
        except OSError:
            return  # they are on the disk and counted at the next turn; `fetch` says what is wrong
        if received:
            facts = self.store.facts.facts
            self.store.facts.put_later(replace(facts, bytes_received=facts.bytes_received + received))

    def _take_chunk(self, sha256: str, payload: bytes, now: float) -> int:
        """Keep a chunk that is wanted and right; return its bytes on the wire."""
        chunk = self.window.wanted(sha256)
        if chunk is None:
            return 0
        assert self._performer is not None
        try:
            self.store.chunks.add(sha256, unpack(payload, chunk))
        except BadChunk as error:
            if self.window.bad(sha256, now):
                self.journal.tell("bad-chunk", str(error))
            return 0
        except OSError as error:
            self._hold(f"no space: {error.strerror or error} while keeping a chunk", now)
            return 0
        self.window.got(sha256, len(payload), now)
        return len(payload)

    def _hold(self, why: str, now: float) -> None:
        assert self._performer is not None
        if not any(live.hold and live.hold[0] == why for live in self.lives.values()):
            self.journal.tell("no-space", why)
        for live in self.lives.values():
            live.hold = (why, now + IDLE_TURN_S)

    def _acknowledge(self) -> None:
        facts = self.store.facts.facts
        taken = set()
        for number in self.link.acknowledged():
            self.telemetry.acknowledged(number)
            if number in self._events_sent:
                taken.add(self._events_sent.pop(number))
        if taken:
            rest = tuple(event for event in facts.events if event.number not in taken)
            self.store.facts.put_later(replace(facts, events=rest))

    def _look(self, moment: Now) -> float:
        """Take the trust part of the turn; return when to come again."""
        before = self.store.facts.trust
        again = self.looking.step(moment)
        if self.store.facts.trust is not before:
            self._collect_at = moment.monotonic_s
        return again

    # --- models

    def _models(self) -> tuple[str, ...]:
        return models(self.store.facts.facts, self.documents.rollout())

    def _model_turn(self, model: str, moment: Now) -> float:
        """Do steps for one model until it must wait; return until when."""
        assert self._performer is not None and self.hardware is not None
        now = moment.monotonic_s
        live = self.lives.setdefault(model, Live())
        self._watch(live, now)
        for _ in range(MAX_STEPS):
            facts = self.store.facts.facts
            want = desired(model, self.config.device, facts, self.hardware, self.store, self.documents)
            seen = observe(want, facts.model(model), live, self.store, self.hardware, self._surroundings(now), moment)
            step = decide(seen, want, now)
            self.told[model] = report.Told(want, step, live)
            if isinstance(step, steps.Wait):
                return step.until if step.until is not None else now + IDLE_TURN_S
            if isinstance(step, steps.Fetch):
                return now + IDLE_TURN_S  # the window knows better when to look again
            if not self._performer.perform(model, live, step, moment):
                return now + 1.0
            self._collect_at = min(self._collect_at, now) if isinstance(step, COLLECT_AFTER) else self._collect_at
        return now

    def _watch(self, live: Live, now: float) -> None:
        """Read the counts of a model on probation often, of a proven one when its window closes."""
        server = live.server
        if server is None or server.accepting_since is None:
            return
        if now >= live.sampled_at + SENSE_EVERY_S:
            live.sample(now)
        if live.crashes_in_a_row and now >= server.accepting_since + FALL_QUIET_S:
            live.crashes_in_a_row = 0

    def _surroundings(self, now: float) -> Surroundings:
        """Return how the device is, read at most every few seconds."""
        if self._sensed is None or now >= self._sensed[0] + SENSE_EVERY_S:
            around = Surroundings(
                device=self.probe.device_window(),
                storage_free_bytes=self.probe.storage_free_bytes(),
                memory_available_bytes=self.probe.memory_available_bytes(),
                reserve_bytes=self.config.limits.reserve_bytes,
            )
            self._sensed = (now, around)
        return self._sensed[1]

    def _fetch(self, now: float) -> None:
        """Ask for the chunks of every model whose step is to fetch, in one window."""
        wanted = [
            chunk for told in self.told.values() if isinstance(told.step, steps.Fetch) for chunk in told.step.missing
        ]
        self.window.bytes_per_s_limit = self._policy().bandwidth_bytes_per_s
        self.window.want(wanted)
        if not self._linked or self.link.connected_session() is None:
            return
        moves = self.window.moves(now)
        if moves.unsubscribe:
            self.link.unsubscribe([self.topics.chunk(name) for name in moves.unsubscribe])
        if moves.subscribe:
            self.link.subscribe([self.topics.chunk(name) for name in moves.subscribe])
        if moves.need:
            need = Need(device=self.config.device, chunks=moves.need)
            self.link.publish(self.topics.of_device(self.config.device, "need"), encode(need))

    def _policy(self) -> Policy:
        rollout = self.documents.rollout()
        return rollout.policy if isinstance(rollout, Rollout) else Policy()

    def _collect(self, now: float) -> None:
        """Remove what nothing needs. Active and previous are always needed, whatever the disk says."""
        if now < self._collect_at:
            return
        self._collect_at = now + COLLECT_EVERY_S
        chunks: set[str] = set()
        documents = {*self.store.facts.trust.manifests, self.store.facts.trust.rollout or ""}
        for model in self._models():
            facts, told = self.store.facts.facts.model(model), self.told.get(model)
            kept = [slot for slot in (facts.active, facts.previous) if slot is not None]
            slots = {slot.slot for slot in kept}
            needed = [(slot.release_sha256, slot.variant) for slot in kept]
            if facts.choice is not None and facts.choice.variant is not None:
                needed.append((facts.choice.release_sha256, facts.choice.variant))
                slots.add(slot_name(facts.choice.release_sha256, facts.choice.variant))
            for sha256, variant in needed:
                documents.add(sha256)
                chunks |= self._chunks_of(sha256, variant)
            if told is not None:
                self.store.releases.keep_only(model, slots)
        self.store.chunks.keep_only(chunks)
        self.store.facts.keep_documents(documents)
        self.documents.forget_others(documents)

    def _chunks_of(self, sha256: str, variant_name: str) -> set[str]:
        release = self.documents.release(sha256)
        variant = release.variant(variant_name) if isinstance(release, Release) else None
        if not isinstance(release, Release) or variant is None:
            return set()
        return {chunk.sha256 for entry in release.files_for(variant) for chunk in entry.chunks}

    def _put_quietly(self) -> None:
        """Store the counters that may be lost, when the disk takes them."""
        with contextlib.suppress(OSError):
            self.store.facts.put(self.store.facts.facts)

    # --- telling

    def _close_window(self, moment: Now, *, at_once: bool = False) -> None:
        """Close the telemetry window when its time is over."""
        now = moment.monotonic_s
        assert self._window_began is not None
        began, began_wall = self._window_began
        if now < began + self._policy().telemetry_interval_s and not (at_once and now > began):
            return
        for live in self.lives.values():
            live.sample(now)
        window = TelemetryWindow(
            start_s=began_wall,
            seconds=min(now - began, 86400.0),
            boot=self.clock.boot(),
            started_monotonic_s=began,
            clock_trusted=moment.clock_trusted,
            device=self.probe.device_window(),
            models=tuple(part for live in self.lives.values() for part in live.close_window()),
        )
        self._window_began = (now, moment.wall_s)
        self.telemetry.add(window, now)

    def _publish(self, moment: Now) -> None:
        """Send what changed: the state, events and telemetry."""
        for event in self.store.facts.facts.events:
            if event.number not in self._events_sent.values():
                topic = self.topics.of_device(self.config.device, "event")
                self._events_sent[self.link.publish(topic, encode(event))] = event.number
        facts = self.store.facts.facts
        if dropped := self.store.outbox.take_dropped():
            facts = replace(facts, dropped_windows=facts.dropped_windows + dropped)
            self.store.facts.put_later(facts)
        batch = self.telemetry.batch(moment.monotonic_s, facts.dropped_windows)
        if batch is not None:
            number = self.link.publish(self.topics.of_device(self.config.device, "telemetry"), batch[0])
            self.telemetry.sent(number, batch[1], moment.monotonic_s)
        for problem in self._outbox_problems():
            assert self._performer is not None
            self.journal.tell("store-damaged", problem)

    def _outbox_problems(self) -> list[str]:
        problems, self.store.outbox.problems = self.store.outbox.problems[:1], []
        return problems

    def _tell_state(self, moment: Now) -> None:
        rollout = self.documents.rollout()
        assert self.hardware is not None
        state = report.device_state(
            device=self.config.device,
            session=self._session or 0,
            boot=self.clock.boot(),
            at_s=moment.wall_s,
            facts=self.store.facts.facts,
            trust=self.store.facts.trust,
            trust_problem=self.knowledge.refused,
            rollout_serial=rollout.serial if isinstance(rollout, Rollout) else 0,
            hardware=self.hardware,
            limits_held=self.launcher.limits_held(),
            models=self.told,
        )
        self.state = state
        if not self._linked or self.link.connected_session() is None:
            return
        facts, words, at = self._published
        essence, whole = report.essence(state, False), report.essence(state, True)
        if essence == facts and (whole == words or moment.monotonic_s < at + report.WORDS_EVERY_S):
            return
        self._published = (essence, whole, moment.monotonic_s)
        self.link.publish(self.topics.of_device(self.config.device, "state"), encode(state), retain=True)

    # --- time

    def _moment(self, now: float) -> Now:
        wall, floor = self.clock.now(), self.store.facts.trust.floor
        earliest = max(BUILT_S, floor.timestamp() if floor else 0.0)
        return Now(now, wall, wall >= earliest)

    def _wake(self, now: float, wakes: list[float]) -> float:
        assert self._window_began is not None
        wakes.append(self._window_began[0] + self._policy().telemetry_interval_s)
        due = self.window.due(now)
        if due is not None:
            wakes.append(due)
        return max(now, min(wakes))
