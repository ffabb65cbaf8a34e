"""The control agent: one turn at a time, no threads, no module state, so that many run in one process.

A turn: take what came, look if there is something to verify (`looking`), do one step after the other for each model (`decide`,
`perform`), ask for chunks (`fetching`), tell what changed (`telling`). It returns when to turn again. Everything that it must
know after a cut is in the store; everything else it sees by looking.
"""

import contextlib
import dataclasses

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState
from edgefleet_protocol.rollout import Policy, Rollout
from edgefleet_protocol.topics import Topics

from . import report, starting, steps
from .actions import Actions
from .benching import LOOK_EVERY_S, Benching
from .collecting import collect
from .commanding import Commanding
from .config import Config
from .decide import decide
from .fetching import Fetching
from .journal import Journal
from .leases import LeaseFolder
from .live import Live
from .localtime import zone_of
from .log import LOG
from .looking import Looking
from .observe import Around, Documents, Now, desired, models, observe
from .perform import Performer
from .pinning import end_withdrawn, expire
from .rules.frozen import frozen_words
from .rules.seen import Desired
from .rules.shared import in_turns, memory_left, next_to_try
from .seams import Clock, Launcher, Link, Looker, Message, Probe, Signer
from .sensing import SENSE_EVERY_S, Sensing
from .store import Store, owner
from .telling import Telling

BUILT_S = 1_764_028_800.0
"""2025-11-25: a clock before it is wrong. Each release of the agent moves it on."""
SESSIONS_PER_BOOT = 1_000_000
"""A session's number is the count of starts times this, plus the reconnects since: no number comes twice."""
MAX_STEPS = 64
"""Steps of one model in one turn; more would mean that two rules undo each other."""
IDLE_TURN_S = 30.0
FAULT_AGAIN_S = 60.0
COLLECT_EVERY_S = 3600.0
COLLECT_AFTER = (steps.NoteTrial, steps.Activate, steps.Prove, steps.Fail, steps.FallBack, steps.Choose, steps.Govern)
"""Steps after which something may no longer be needed."""


class Agent:
    """One device. `turn` never blocks for long and never raises for what the world does."""

    def __init__(
        self,
        clock: Clock,
        link: Link,
        store: Store,
        launcher: Launcher,
        probe: Probe,
        looker: Looker,
        config: Config,
        signer: Signer | None = None,
    ) -> None:
        """signer: the device's identity; None only in development, with a broker on loopback and a server that asks for none."""
        self.clock, self.link, self.store, self.launcher = clock, link, store, launcher
        self.probe, self.config = probe, config
        self.topics = Topics(config.fleet)
        self.sensing = Sensing(probe, config)
        self.documents = Documents(store)
        self.journal = Journal(config.device, clock, store)
        self.looking = Looking(config, self.topics, link, store, looker, self.journal)
        self.knowledge = self.looking.knowledge
        self.fetching = Fetching(config.device, self.topics, link, store, self.journal, config.fetch.patience_s)
        self.telling = Telling(
            config.device,
            self.topics,
            clock=clock,
            link=link,
            store=store,
            launcher=launcher,
            probe=probe,
            documents=self.documents,
            journal=self.journal,
            signer=signer,
            metering=self.sensing.metering,
        )
        self.telemetry = self.telling.telemetry
        self.lives: dict[str, Live] = {}
        self.benching = Benching(launcher, probe)
        actions = Actions(
            config,
            clock=clock,
            probe=probe,
            benching=self.benching,
            moment=lambda: self._moment(clock.monotonic()),
            store=store,
            journal=self.journal,
            documents=self.documents,
            lives=self.lives,
            drain_s=config.serve.drain_s,
            state=lambda: self.state,
            hardware=lambda: self.hardware,
        )
        self.commanding = Commanding(
            config.device, self.topics, link=link, store=store, journal=self.journal, act=actions.act
        )
        self.told: dict[str, report.Told] = {}
        self.hardware: Hardware | None = None
        self._performer: Performer | None = None
        self._session: int | None = None
        self.hands = owner.Hands()
        """What the device's owner decided: read anew at each turn, for only the owner's commands write it."""
        self.leases = LeaseFolder(config.run, clock)
        self._collect_at = 0.0
        self._linked = False

    @property
    def state(self) -> DeviceState | None:
        """The last state that was told, for `status`."""
        return self.telling.state

    # --- the turn

    def turn(self, now: float) -> float:
        """Do what there is to do; return when to turn again. Both are monotonic seconds."""
        if self._performer is None:
            self._start(now)
        assert self.hardware is not None and self._performer is not None
        moment, wakes = self._moment(now), [now + IDLE_TURN_S]
        if not self.hardware.runtimes:
            # Installed or mended since: what was held back for want of a runtime is tried.
            self.hardware = self._performer.placing.hardware = self.probe.hardware()
        self.hands = owner.read(self.store.disk, self.store.state)
        expire(self.store, self.journal, moment)
        if self._policy().governor is not None:
            self.sensing.around(self._policy(), now)
            wakes.append(now + SENSE_EVERY_S)
        if self._linked:
            self._greet(now)
            self._take(self.link.receive(), now)
            self.telling.acknowledge()
            wakes.append(self._look(moment, self.probe.storage_free_bytes()))
            self.commanding.step(moment, self._session or 0)
            wakes += [now + LOOK_EVERY_S] if self.commanding.busy else []
        wakes += [self._guarded_turn(model, moment) for model in self._models()]
        self.sensing.follow(self.lives.values(), now)
        if not self._linked:
            self._connect()  # serve first, then connect
            wakes.append(now)
        self._collect(now)
        wakes.append(self._fetch(now))
        self.telemetry.policy = self._policy()
        self.telling.close_window(self.lives.values(), moment, self._policy().telemetry_interval_s)
        self.telling.tell_state(self.told, self.knowledge.refused, self.hardware, moment)
        if self._connected():
            self.telling.publish(moment)
        wakes.append(self.telling.window_ends(self._policy().telemetry_interval_s))
        return max(now, min(wakes))

    def stop(self, now: float) -> None:
        """End in good order: telemetry to disk, workers down, a last word to the broker."""
        if self._performer is None:
            return
        interval_s = self._policy().telemetry_interval_s
        self.telling.close_window(self.lives.values(), self._moment(now), interval_s, at_once=True)
        self.telemetry.store()
        self.store.outbox.close()
        for model, live in self.lives.items():
            if (seen := live.probation_seen(now)) is not None:
                starting.note_probation(self.store, model, seen.unnoted_s)
        with contextlib.suppress(OSError):  # counters that may be lost, when the disk takes them
            self.store.facts.put(self.store.facts.facts)
        self.benching.stop()
        for live in self.lives.values():
            live.stop(self.config.serve.drain_s)
        if self._linked:
            if self._session is not None:
                self.telling.presence(online=False)
            self.link.stop()

    # --- start

    def _start(self, now: float) -> None:
        self.hardware = self.probe.hardware()
        self._performer = starting.performer(
            self.config, self.journal, self.store, self.launcher, self.documents, self.hardware
        )
        self.telling.start(now)
        starting.count_start(self.store, self.journal)

    # --- the link

    def _connect(self) -> None:
        first = self.store.facts.facts.boots * SESSIONS_PER_BOOT
        self.link.start(first, self.telling.topic("presence"), self.telling.will)
        self._linked = True

    def _connected(self) -> bool:
        return self._linked and self.link.connected_session() is not None

    def _greet(self, now: float) -> None:
        """A new session knows nothing of us: subscribe, tell that we are here, forget what was under way."""
        session = self.link.connected_session()
        if session is None or session == self._session:
            return
        self._session = session
        self.fetching.window.forget()
        self.telling.new_session(session)
        own = [
            self.telling.topic("assignment"),
            self.telling.topic("command"),
            self.topics.trust("head"),
            self.topics.trust("timestamp.json"),
        ]
        self.link.subscribe(own, qos=1)
        self.link.subscribe(self.looking.topics_of(self.knowledge.new_session(now)))
        self.telling.presence(online=True)

    def _take(self, messages: list[Message], now: float) -> None:
        """Give each message to the part that asked for it."""
        for message in messages:
            try:
                parsed = self.topics.parse(message.topic)
            except BadName:
                continue
            if parsed.kind == "chunk":
                self.fetching.take(parsed.name, message.payload, self.lives.values(), now)
            elif parsed.kind in ("trust", "target"):
                if self.knowledge.came(parsed.kind, parsed.name, message.payload):
                    self.link.unsubscribe([message.topic])
            elif parsed.kind == "assignment" and parsed.name == self.config.device:
                self.knowledge.came_envelope(message.payload)
            elif parsed.kind == "command" and parsed.name == self.config.device:
                self.commanding.take(message.payload)
        self.fetching.settle()

    # --- trust

    def _look(self, moment: Now, free_bytes: int) -> float:
        """Take the trust part of the turn; return when to come again."""
        before = self.store.facts.trust
        again = self.looking.step(moment, free_bytes)
        if self.store.facts.trust is not before:
            end_withdrawn(self.store, self.journal)
            self._collect_at = moment.monotonic_s
        return again

    def _policy(self) -> Policy:
        rollout = self.documents.rollout()
        return rollout.policy if isinstance(rollout, Rollout) else Policy()

    # --- models

    def _models(self) -> tuple[str, ...]:
        return models(self.store.facts.facts, self.documents.rollout())

    def _guarded_turn(self, model: str, moment: Now) -> float:
        """As `_model_turn`. A fault of ours about one model is told, and keeps the others from nothing."""
        try:
            return self._model_turn(model, moment)
        except Exception as error:
            LOG.exception("%s: a fault in the agent", model)
            words = f"a fault in the agent: {type(error).__name__}: {error}"
            if self.lives.setdefault(model, Live()).first_time("fault"):
                self.journal.tell("fault", words, model)
            return moment.monotonic_s + FAULT_AGAIN_S

    def _around(self, model: str, moment: Now) -> Around:
        """Return what one model shares with the others, and what people and applications say of it."""
        policy, hold = self._policy(), self.hands.holds.get(model)
        waiting = {name: since for name, live in self.lives.items() if (since := live.waits_for("trial")) is not None}
        trying = next((name for name, live in self.lives.items() if live.trial is not None and name != model), None)
        turn = next_to_try(waiting, trying)
        return Around(
            zone=zone_of(policy.timezone) if policy.windows else None,
            held=self.hands.hold_of(model, moment.wall_s, moment.clock_trusted) or self._frozen(),
            hold_ends_s=hold.until_s if hold is not None else None,
            released_s=self.hands.released.get(model, 0.0),
            leases=self.leases.of(model),
            may_try=trying is None and turn in (None, model) and self.benching.model is None,
            strain=self.sensing.strain,
        )

    def _frozen(self) -> str | None:
        """In words, that the fleet's operators let nothing new begin here."""
        rollout = self.documents.rollout()
        return frozen_words(self.store.facts.facts.frozen, rollout.frozen if isinstance(rollout, Rollout) else "")

    def _model_turn(self, model: str, moment: Now) -> float:
        """Do steps for one model until it must wait; return until when."""
        assert self._performer is not None and self.hardware is not None
        now = moment.monotonic_s
        if model not in self.lives:
            self.lives[model] = Live(governed_at=now)
            self.leases.prepare(model)
        live = self.lives[model]
        live.watch(now, SENSE_EVERY_S)
        for _ in range(MAX_STEPS):
            facts = self.store.facts.facts
            want = desired(model, self.config.device, facts, self.hardware, self.store, self.documents, self.hands)
            around, troubles = self.sensing.around(self._policy(), now), self.fetching.window.troubles()
            promised = {name: one.promised_bytes() for name, one in self.lives.items()}
            free_bytes = memory_left(around.memory_available_bytes, promised, model)
            around = dataclasses.replace(around, memory_available_bytes=free_bytes)
            live.follow(want.sha256)
            live.hold = live.hold.after(around.storage_free_bytes, now) if live.hold else None
            shared = self._around(model, moment)
            seen = observe(
                want,
                facts.model(model),
                live,
                self.store,
                self.hardware,
                around,
                troubles,
                moment,
                shared,
                self._performer.placing,
                self.documents,
            )
            step = decide(seen, want, now)
            live.stand_in_line(step.wants if isinstance(step, steps.Wait) else None, now)
            self._tell_problem(want)
            if isinstance(step, steps.Wait) and step.tell is not None and live.first_time(step.tell):
                self.journal.tell(step.tell, step.why, model, want.release.name if want.release else None)
            self.told[model] = report.Told(want, step, live, *report.said_of(seen, want))
            if isinstance(step, steps.Wait):
                return step.until if step.until is not None else now + IDLE_TURN_S
            if isinstance(step, steps.Fetch):
                return now + IDLE_TURN_S  # the window knows better when to look again
            LOG.debug("%s: %s", model, type(step).__name__)
            if not self._performer.perform(model, live, step, moment):
                return now + 1.0
            self._collect_at = min(self._collect_at, now) if isinstance(step, COLLECT_AFTER) else self._collect_at
        return now

    def _tell_problem(self, want: Desired) -> None:
        """Tell once of a wish that must not be obeyed. What the look refused, it has told of itself."""
        before = self.told.get(want.model)
        if (
            want.problem is None
            or want.assignment is None
            or (before is not None and before.want.problem == want.problem)
        ):
            return
        if want.assignment.release.path not in self.store.facts.trust.refused:
            self.journal.tell("refused", want.problem, want.model, want.assignment.release.path)

    def _fetch(self, now: float) -> float:
        """Ask for the chunks of every model whose step is to fetch; return when the window wants to be asked again."""
        missing = {name: told.step.missing for name, told in self.told.items() if isinstance(told.step, steps.Fetch)}
        wanted = list(in_turns(missing, self.fetching.window.troubles()))
        self.fetching.ask(wanted, self._policy().bandwidth_bytes_per_s, now, connected=self._connected())
        due = self.fetching.window.due(now)
        return due if due is not None else now + IDLE_TURN_S

    def _collect(self, now: float) -> None:
        if now >= self._collect_at:
            self._collect_at = now + COLLECT_EVERY_S
            try:
                ahead = {name: live.aim for name, live in self.lives.items() if live.aim is not None}
                collect(self.store, self.documents, self._models(), self.told, ahead)
            except OSError as error:  # a disk that became read-only, or a folder under a chunk's name: serve on
                LOG.warning("what nothing needs could not be removed: %s", error)

    # --- time

    def known_time_s(self) -> float:
        """Return the wall's time, or, where its clock is known to be behind, the latest time that was signed."""
        floor = self.store.facts.trust.floor
        return max(self.clock.now(), floor.timestamp() if floor else 0.0)

    def _moment(self, now: float) -> Now:
        wall, floor = self.clock.now(), self.store.facts.trust.floor
        earliest = max(BUILT_S, floor.timestamp() if floor else 0.0)
        return Now(now, wall, wall >= earliest)
