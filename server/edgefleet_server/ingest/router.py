"""From the broker's queue into the database: one thread, a few messages to a transaction."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from edgefleet_protocol.codec import Document, decode
from edgefleet_protocol.errors import BadDocument, BadSignature, ProtocolError
from edgefleet_protocol.messages import MAX_MESSAGE_BYTES, DeviceState, Event, Need, Presence, Reply
from edgefleet_protocol.topics import Kind, Parsed, Topics

from ..config import KeepConfig
from ..link.broker import Broker
from ..link.inbox import Incoming
from ..regions.current import Residency
from ..regions.gone import GoneWatch
from ..rollouts.apart import became_free
from ..seams import Clock
from ..store import audit, commands, devices, events
from ..store.database import Connection, Database, Unavailable
from .counters import Counters
from .freshness import beyond_belief, stale_presence, stale_state
from .intake import Intake
from .lane import Lane
from .lineage import Alarm, Lineage, Verdict, judge
from .shares import Shares
from .signed import CannotJudge, DeviceAuthority
from .steady import Steady

LOG = logging.getLogger(__name__)

D = TypeVar("D", bound=Document)

RETAINED_KINDS: tuple[Kind, ...] = ("state", "presence")
"""They say how a device is, so of each only the newest matters, and that one does."""
BATCH = 400
"""Messages to a commit: SQLite is three times as fast with a hundred than with one."""
TELL_REFUSED_EVERY_S = 600.0


class Stale(Exception):
    """A message that is older than what is known. Not wrong, only late."""


class Router:
    """Takes what devices say. `on_change` is called after a commit that the controller or publisher should look at."""

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        database: Database,
        clock: Clock,
        counters: Counters,
        on_change: Callable[[], None],
        on_need: Callable[[Need], None],
        keep: KeepConfig | None = None,
        authority: DeviceAuthority | None = None,
        residency: Residency | None = None,
        gone: GoneWatch | None = None,
        on_met: Callable[[list[str]], None] = lambda names: None,
    ) -> None:
        """authority: says whose state is believed; without one, whatever comes is taken: development on loopback.
        on_met: told of which devices the broker retains the presence."""
        self._on_met = on_met
        self._presences = topics.all_devices("presence").split("+")
        self._authority = authority or DeviceAuthority(None)
        self._gone = gone
        self._told_refused: dict[str, float] = {}
        self._keep = keep or KeepConfig()
        self._events = Shares(self._keep.events_per_device_per_hour)
        self._broker, self._topics, self._database, self._clock = broker, topics, database, clock
        self._counters, self._on_change, self._on_need = counters, on_change, on_need
        self.intake = Intake(topics, database, clock, counters, self._keep, residency)
        self._telemetry = topics.all_devices("telemetry").removesuffix("+")
        self._stopping = threading.Event()
        self._steady = Steady(counters, self._stopping, database.outage, "what devices say")
        self._lane = Lane(self.intake, broker.done, counters, self._stopping, database.outage)
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def start(self) -> None:
        """Begin to take messages."""
        self._lane.start()
        self._thread.start()

    def stop(self) -> None:
        """Deal with what is at hand and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._lane.stop()

    @property
    def stuck_s(self) -> float:
        """For how long the database has refused what came; 0 when it does not."""
        return max(self._steady.stuck_s, self._lane.steady.stuck_s)

    @property
    def waiting(self) -> int:
        """How many messages came and were not read yet."""
        return self._broker.waiting

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not (batch := self._next_batch()):
                continue
            try:
                self._take(batch)
            except Exception:  # of whoever is told what changed; without this thread nothing would be taken any more
                LOG.exception("what came could not be handed on")
                self._counters.add("ingest_faults")

    def _next_batch(self) -> list[Incoming]:
        batch: list[Incoming] = []
        message = self._broker.receive(timeout_s=0.2)
        while message is not None:
            batch.append(message)
            message = self._broker.receive(timeout_s=0.0) if len(batch) < BATCH else None
        return batch

    def _take(self, batch: Sequence[Incoming]) -> None:
        """Store and acknowledge. What cannot be stored now is kept, in its order, and tried again; nothing is acknowledged before."""
        parts: list[tuple[list[Incoming], list[Incoming]]] = []
        # Who was decommissioned is read from the database now and then, so this too waits for one that is away.
        if not self._steady.until_it_works(lambda: parts.append(self._apart(batch))):
            return
        measured, said = parts[-1]
        if measured:
            self._lane.take(measured)
        found: list[tuple[bool, list[Need]]] = []
        if said and self._steady.until_it_works(lambda: found.append(self._handle(said))):
            self._broker.done(said)
            changed, needs = found[-1]
            for need in needs:
                self._on_need(need)
            if changed:
                self._on_change()
            if met := self._met(said):
                self._on_met(met)

    def _met(self, said: Sequence[Incoming]) -> list[str]:
        before, after = self._presences
        topics = [row.topic for row in said if row.retained and row.topic.endswith(after)]
        return [topic.removeprefix(before).removesuffix(after) for topic in topics]

    def _apart(self, batch: Sequence[Incoming]) -> tuple[list[Incoming], list[Incoming]]:
        """Return telemetry, and the rest: what devices say of themselves, and whatever one says that is gone."""
        measured: list[Incoming] = []
        said: list[Incoming] = []
        for message in batch:
            is_telemetry = message.topic.startswith(self._telemetry) and not self._of_gone(message)
            (measured if is_telemetry else said).append(message)
        return measured, said

    def _of_gone(self, message: Incoming) -> bool:
        return self._gone is not None and self._gone.is_gone(message.topic[len(self._telemetry) :])

    def handle(self, batch: Sequence[Incoming]) -> tuple[bool, list[Need]]:
        """Store a batch; return whether anything changed that matters, and what is asked for."""
        measured, said = self._apart(batch)
        if measured:
            self.intake.handle(measured)
        return self._handle(said) if said else (False, [])

    def _handle(self, batch: Sequence[Incoming]) -> tuple[bool, list[Need]]:
        """Store what devices say of themselves in one transaction; return whether anything changed that matters, and what is asked for."""
        changed, needs = False, []
        now = self._clock.now()
        counted: list[tuple[str, int, str | None]] = []
        spoke: Counter[str] = Counter()
        with self._database.write() as connection:
            for message in batch:
                kind = "unknown"
                try:
                    parsed = self._topics.parse(message.topic)
                    kind = parsed.kind
                    if self._gone is not None and message.payload and self._gone.is_gone(parsed.name):
                        counted.append((f"{kind}_refused", 1, self._gone.spoke(connection, parsed, message, now)))
                        continue
                    with connection.begin_nested():
                        found = self._one(connection, parsed, message, now, counted, spoke)
                    counted.append((f"{kind}_taken", 1, None))
                    if isinstance(found, Need):
                        needs.append(found)
                    elif found:
                        changed = True
                except Stale as late:
                    counted.append((f"{kind}_stale", 1, f"{message.topic}: {late}"))
                except ProtocolError as error:
                    if kind == "state" and isinstance(error, BadSignature):
                        self._tell_refused(connection, parsed.name, str(error), now)
                    counted.append((f"{kind}_refused", 1, f"{message.topic}: {error}"))
                except (Unavailable, CannotJudge):  # no fault of the message: it is tried again
                    raise
                except Exception as error:  # a fault of ours must not end the server, nor hold up the next message
                    LOG.exception("a message on %s could not be handled", message.topic)
                    counted.append((f"{kind}_faults", 1, f"{message.topic}: {error!r}"))
        for name, by, reason in counted:  # only now: the transaction may be tried again
            self._counters.add(name, by, reason=reason)
        for device, many in spoke.items():
            self._events.count(device, now, many)
        return changed, needs

    def _one(
        self,
        connection: Connection,
        topic: Parsed,
        message: Incoming,
        now: float,
        counted: list[tuple[str, int, str | None]],
        spoke: Counter[str],
    ) -> bool | Need:
        live = not message.retained
        if topic.kind == "state":
            return self._state(connection, topic.name, message.payload, now, live)
        if topic.kind == "presence":
            return self._presence(connection, topic.name, message.payload, now, live)
        if topic.kind == "event":
            event = self._decode(message.payload, Event, topic.name)
            if self._events.is_over(topic.name, now, spoke[topic.name]):
                most = self._keep.events_per_device_per_hour
                counted.append(("events_over_share", 1, f"{topic.name} sent more than {most} events in an hour"))
                return False
            spoke[topic.name] += 1
            if not events.add(connection, event, now):
                counted.append(("events_repeated", 1, None))
            return True
        if topic.kind == "need":
            return self._decode(message.payload, Need, topic.name)
        if topic.kind == "reply":
            return self._reply(connection, topic.name, message.payload, now)
        raise BadDocument(f"{topic.kind} is the server's to write")

    def _state(self, connection: Connection, device: str, payload: bytes, now: float, live: bool) -> bool:
        known = devices.find(connection, device)
        if not payload and known is None:
            return False  # the broker tells everybody that a topic was cleared: this device was forgotten
        payload, key = self._authority.opened(payload, device, now, live=live)
        state = self._decode(payload, DeviceState, device)
        self._believe(beyond_belief(known, state.session, state.assignment_number))
        verdict = judge(known.lineage if known else Lineage(), state, key=key, live=live, now=now)
        if verdict.kind == "stale":
            raise Stale(verdict.why)
        # Where starts say nothing, connections and clocks must do.
        if (not live or not state.starts) and (reason := self._older(known, verdict, state)):
            raise Stale(reason)
        same = known is not None and known.state_bytes == payload
        if same and not live:
            return False
        free = became_free(known.state if known else None, state)
        devices.put_state(connection, state, payload, now, live=live, lineage=verdict.lineage, counts_anew=free)
        if verdict.alarm is not None and (known is None or known.alarm is None):
            self._quarantine(connection, device, state.region if known is None else known.region, verdict.alarm, now)
        return not same

    @staticmethod
    def _older(known: devices.Device | None, verdict: Verdict, state: DeviceState) -> str | None:
        if verdict.kind not in ("first", "copy", "anew"):
            return None
        return stale_state(known, state.session, state.boot, state.at_s)

    def _quarantine(self, connection: Connection, device: str, region: str | None, alarm: Alarm, now: float) -> None:
        LOG.error("%s is in quarantine: %s", device, alarm.why)
        devices.put_alarm(connection, device, alarm)
        events.add_own(connection, device, "cloned", alarm.why, now)
        audit.add(connection, audit.AuditRow(now, "the server", "device.quarantine", region, device, alarm.why))

    def _tell_refused(self, connection: Connection, device: str, reason: str, now: float) -> None:
        """A state that is not signed as it must be: told with the device that it claims to be of, now and then."""
        if now < self._told_refused.get(device, float("-inf")) + TELL_REFUSED_EVERY_S:
            return
        if devices.find(connection, device) is not None:  # names that nobody knows must not fill the database
            self._told_refused[device] = now
            events.add_own(connection, device, "state-refused", reason, now)

    def _reply(self, connection: Connection, device: str, payload: bytes, now: float) -> bool:
        """Keep the answer to a command that the server gave; the first one counts."""
        reply = self._decode(payload, Reply, device)
        if not commands.answer(connection, reply, now):
            raise Stale(f"an answer to number {reply.number} of epoch {reply.epoch[:16]}, for which none is waited")
        return False

    def _presence(self, connection: Connection, device: str, payload: bytes, now: float, live: bool) -> bool:
        known = devices.find(connection, device)
        if not payload and known is None:
            return False
        presence = self._decode(payload, Presence, device)
        self._believe(beyond_belief(known, presence.session))
        if reason := stale_presence(known, presence.session):
            raise Stale(reason)
        devices.put_presence(connection, device, presence.session, presence.online, now, live=live)
        return known is None or known.online != presence.online

    def _decode(self, payload: bytes, kind: type[D], device: str) -> D:
        document = decode(payload, kind, limit=MAX_MESSAGE_BYTES)
        self._same(kind.__name__, document.device, device)  # type: ignore[attr-defined]
        return document

    @staticmethod
    def _believe(impossible: str | None) -> None:
        if impossible is not None:
            raise BadDocument(impossible)

    @staticmethod
    def _same(what: str, said: str, topic: str) -> None:
        if said != topic:
            raise BadDocument(f"document ({what}) of {said!r} on the topic of {topic!r}")
