"""What the device tells the server: its state, its events, its telemetry. Each is sent again until the broker has it."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from edgefleet_protocol.codec import encode
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState, Presence
from edgefleet_protocol.rollout import Rollout
from edgefleet_protocol.telemetry import Window
from edgefleet_protocol.topics import Kind, Topics
from edgefleet_protocol.trust import DEVICE_STATE_TYPE

from . import report
from .journal import Journal
from .live import Live
from .metering import Metering
from .observe import Documents, Now
from .seams import Clock, Launcher, Link, Probe, Signer
from .store import Store
from .telemetry import Telemetry

JUDGED = ("trying", "probation")
"""Phases of a model in which a rollout waits for what it measures."""
PROBLEM_AGAIN_S = 3600.0
ASSERT_AGAIN_S = 6 * 3600.0
"""A state that did not change is told again: who lost or overwrote what was retained has it back by then."""


class Telling:
    """The last part of a turn. `session` is that of the connection which was greeted, 0 before the first."""

    def __init__(
        self,
        device: str,
        topics: Topics,
        *,
        clock: Clock,
        link: Link,
        store: Store,
        launcher: Launcher,
        probe: Probe,
        documents: Documents,
        journal: Journal,
        signer: Signer | None = None,
        metering: Metering | None = None,
    ) -> None:
        self._device, self._topics = device, topics
        self._clock, self._link, self._store, self._launcher, self._probe = clock, link, store, launcher, probe
        self._documents, self._journal, self._signer = documents, journal, signer
        self._metering = metering or Metering()
        self.telemetry = Telemetry(device, store.outbox)
        self._machine = probe.machine()
        self._number = 0
        """Of states, since this start: one that comes late or again is seen to be older."""
        self.session = 0
        self.state: DeviceState | None = None
        """The last state that was told, for `status`."""
        self.window: Window | None = None
        """The last that was closed."""
        self._window_began = 0.0
        """By the monotonic clock."""
        self._events_sent: dict[int, int] = {}
        """The link's number of an event that is under way -> the event's."""
        self._published = ("", "", 0.0)
        self._problem = ("", 0.0)
        """The last of the outbox that was told, and when."""

    def start(self, now: float) -> None:
        """Begin the first window."""
        self._window_began = now

    def topic(self, kind: Kind) -> str:
        """Return the device's own topic of a kind."""
        return self._topics.of_device(self._device, kind)

    # --- the connection

    def new_session(self, session: int) -> None:
        """All that was under way may be lost: say it again."""
        self.session = session
        self.telemetry.new_session()
        self._events_sent.clear()
        self._published = ("", "", 0.0)

    def presence(self, *, online: bool) -> None:
        """Say that the device is here, or that it leaves in good order."""
        row = Presence(device=self._device, session=self.session, online=online)
        self._link.publish(self.topic("presence"), encode(row), retain=True)

    def will(self, session: int) -> bytes:
        """Return what the broker says when a connection is lost."""
        return encode(Presence(device=self._device, session=session, online=False))

    def acknowledge(self) -> None:
        """Forget what the broker has."""
        taken = set()
        for number in self._link.acknowledged():
            self.telemetry.acknowledged(number)
            if number in self._events_sent:
                taken.add(self._events_sent.pop(number))
        if taken:
            facts = self._store.facts.facts
            rest = tuple(event for event in facts.events if event.number not in taken)
            self._store.facts.put_later(replace(facts, events=rest))

    # --- telemetry

    def window_ends(self, interval_s: float) -> float:
        """Return when the window that is open closes, in monotonic seconds."""
        return self._window_began + interval_s

    def close_window(self, lives: Iterable[Live], moment: Now, interval_s: float, *, at_once: bool = False) -> None:
        """Close the telemetry window when its time is over."""
        now, began = moment.monotonic_s, self._window_began
        if now < began + interval_s and not (at_once and now > began):
            return
        rows = list(lives)
        for live in rows:
            live.sample(now)
        models = tuple(part for live in rows for part in live.close_window())
        served = any(row.requests or row.errors for row in models)
        window = Window(
            # In milliseconds: more digits say nothing, and are what compresses worst. By the wall's clock of now, which may have
            # come right since the window began.
            start_s=round(moment.wall_s - (now - began), 3),
            seconds=min(max(round(now - began, 3), 0.001), 86400.0),
            boot=self._clock.boot(),
            started_monotonic_s=round(began, 3),
            clock_trusted=moment.clock_trusted,
            device=self._metering.close(now, self._probe.device_window(), self._probe.power_readings(), served=served),
            models=models,
        )
        self._window_began = now
        self.window = window
        self.telemetry.add(window, now)

    # --- state, events, telemetry

    def tell_state(
        self, models: Mapping[str, report.Told], trust_problem: str | None, hardware: Hardware, now: Now
    ) -> None:
        """Work out the state; publish it when it changed. Words alone are told every few seconds."""
        rollout = self._documents.rollout()
        state = report.device_state(
            device=self._device,
            session=self.session,
            boot=self._clock.boot(),
            at_s=now.wall_s,
            facts=self._store.facts.facts,
            trust=self._store.facts.trust,
            trust_problem=trust_problem,
            rollout_serial=rollout.serial if isinstance(rollout, Rollout) else 0,
            hardware=hardware,
            limits_held=self._launcher.limits_held(),
            models=models,
            own=report.Own(
                machine=self._machine,
                certificate=self._signer.certificate if self._signer else "",
                counters=self._store.counters.counters,
            ),
        )
        self.state = state
        if self.session == 0 or self._link.connected_session() is None:
            return
        facts, words, at = self._published
        essence, whole = report.essence(state, False), report.essence(state, True)
        unchanged = essence == facts and (whole == words or now.monotonic_s < at + report.WORDS_EVERY_S)
        if unchanged and now.monotonic_s < at + ASSERT_AGAIN_S:
            return
        self._published = (essence, whole, now.monotonic_s)
        self._number += 1
        data = encode(replace(state, number=self._number))
        if self._signer is not None:
            data = self._signer.sign_envelope(DEVICE_STATE_TYPE, data)
        self._link.publish(self.topic("state"), data, retain=True)

    def publish(self, moment: Now) -> None:
        """Send the events and the telemetry that wait."""
        for event in self._store.facts.facts.events:
            if event.number not in self._events_sent.values():
                self._events_sent[self._link.publish(self.topic("event"), encode(event))] = event.number
        self.telemetry.hurry = any(row.phase in JUDGED for row in (self.state.models if self.state else ()))
        facts = self._store.facts.facts
        if dropped := self._store.outbox.take_dropped():
            facts = replace(facts, dropped_windows=facts.dropped_windows + dropped)
            self._store.facts.put_later(facts)
        dropped = facts.dropped_windows + self._store.outbox.lost()
        batch = self.telemetry.batch(moment, self._clock.boot(), dropped)
        if batch is not None:
            number = self._link.publish(self.topic("telemetry"), batch[0])
            self.telemetry.sent(number, batch[1], moment.monotonic_s)
        problems, self._store.outbox.problems = self._store.outbox.problems[:1], []
        for problem in problems:
            # Each is an event and a durable write: a disk that stays as it is must not cost one a turn.
            words, at = self._problem
            if problem != words or moment.monotonic_s >= at + PROBLEM_AGAIN_S:
                self._problem = problem, moment.monotonic_s
                self._journal.tell("store-damaged", problem)
