"""Makes the broker hold what it should: looks, sends what differs, takes away what nobody names, looks again."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.messages import Need
from edgefleet_protocol.topics import Topics
from edgefleet_trust.errors import TrustError

from ..ingest.counters import Counters
from ..link.broker import Broker
from ..seams import Clock, Repository
from ..store import devices, retained
from ..store.database import Database
from ..store.devices import Device
from ..store.retained import UNSETTLED
from .needs import Needs
from .picks import picked
from .seen import Seen
from .wanted import Wanted, chunks_of, marker, settled, wanted

LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""Without a reason to look sooner."""
REST, MOST_REST_S = 2.0, 3.0
"""How long the publisher rests after a look: so many times what the look took, at most these seconds."""
MARKER_WAIT_S = 5.0
"""How long the broker may take to say what it remembers; it is asked before all else, and a retained message comes at once
or never. To wait in vain costs less than to send 200 MB again that are there."""
FLUSH_EVERY = 200
"""Messages in flight towards the broker: 12 MB of chunks."""
FLUSH_TIMEOUT_S = 60.0
NEEDS_AT_ONCE = 200
"""Needs that one turn answers: what devices ask for must not keep back what rollouts say."""
NEEDS_WAITING = 10_000
"""A need that does not fit is dropped: its device asks again, and memory has an end."""


class LostBroker(Exception):
    """The connection went while publishing; what arrived is not known."""


class Publisher:
    """One thread that owns all retained topics of the server."""

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        repository: Repository,
        database: Database,
        clock: Clock,
        counters: Counters,
        budget_bytes: int,
        fleet: Callable[[], Iterable[Device]],
    ) -> None:
        """fleet: returns all devices that are known."""
        self._fleet = fleet
        self._broker, self._topics, self._repository = broker, topics, repository
        self._database, self._clock, self._counters = database, clock, counters
        self._budget_bytes = budget_bytes
        self._needs = Needs()
        self._seen = Seen()
        self._asked: queue.Queue[Need] = queue.Queue(NEEDS_WAITING)
        self._look = threading.Event()
        self._stopping = threading.Event()
        self._session = 0
        self._present: dict[str, str] | None = None
        """What the broker holds, by topic; None while that is not known."""
        self._manifests: dict[str, Release] = {}
        self._thread = threading.Thread(target=self._run, name="publish", daemon=True)

    def start(self) -> None:
        """Begin to keep the broker as it should be."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is retained stays."""
        self._stopping.set()
        self._look.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def look(self) -> None:
        """Something changed: look at once."""
        self._look.set()

    def seen(self, topic: str, payload: bytes) -> None:
        """The broker says what one of our own topics holds."""
        if self._seen.came(topic, payload):
            self._look.set()

    def need(self, need: Need) -> None:
        """A device lacks something."""
        try:
            self._asked.put_nowait(need)
        except queue.Full:
            self._counters.add("needs_dropped", reason=f"{NEEDS_WAITING} needs wait already")
        self._look.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self.turn()
            except LostBroker:
                LOG.info("lost the broker while publishing; beginning again once it is back")
                self._present = None
            except Exception:  # the repository may be half copied by a person, the disk full: say so and go on
                LOG.exception("could not publish")
                self._counters.add("publish_faults")
                self._stopping.wait(1.0)
            # Every state that comes asks for a look, and a look reads every device: of a large fleet that tells of a rollout,
            # looks without a rest took a third of the server's time.
            self._stopping.wait(min(REST * (time.monotonic() - began), MOST_REST_S))
            self._look.wait(LOOK_EVERY_S if self._broker.session is not None else 0.2)
            self._look.clear()

    def turn(self) -> None:
        """Bring the broker to what it should hold, once."""
        session = self._broker.session
        if session is None:
            return
        want = self._want()
        if session != self._session or self._present is None:
            self._present = self._remembered()
            self._session = session
        with self._database.read() as connection:  # what others want cleared, as of a device that was forgotten
            self._present = retained.unsettled(connection) | self._present
        self._distrust()
        self._put(want, session)
        self._answer_needs(session)

    def _distrust(self) -> None:
        """What somebody else wrote over is no longer known to be there: it is sent again, or cleared if nobody names it."""
        assert self._present is not None
        wrong = self._seen.wrong(self._present, time.monotonic())
        if wrong:
            LOG.warning(
                "the broker held something else on %d topic(s), as on %s: putting it right", len(wrong), wrong[0]
            )
            self._counters.add("healed", len(wrong), reason=f"{wrong[0]} held what the server did not put there")
            self._present |= dict.fromkeys(wrong, UNSETTLED)

    def _remembered(self) -> dict[str, str]:
        """What the broker still holds: all that we put there, when our note is there too; else nothing for certain.

        The note is written last, and a broker saves its memory as a whole or not at all, so with the note came all that
        it speaks of. A topic that was being sent or cleared when the server died is recorded without a digest: whatever
        is there, it is sent again or cleared.
        """
        with self._database.read() as connection:
            put = retained.every(connection)
        note = self._broker.retained(self._topics.note, MARKER_WAIT_S) if put else None
        if put and note == marker(settled(put)):
            return put
        if put:
            LOG.info("the broker has lost what it retained, or never had it: publishing all of it")
            self._counters.add("reseeded")
        # Unknown: what was there may still be, so that it must be cleared if nobody names it now.
        return dict.fromkeys(put, UNSETTLED)

    def _want(self) -> Wanted:
        rollouts = {}
        for region in self._repository.regions():
            if (rollout := self._repository.rollout(region)) is not None:
                rollouts[region] = rollout
        refs = {row.release.sha256: row.release for rollout in rollouts.values() for row in rollout.assignments}
        for sha256, ref in refs.items():
            if sha256 not in self._manifests:
                try:
                    self._manifests[sha256] = self._repository.manifest(ref)[0]
                except (TrustError, ProtocolError) as error:  # its region waits; the others need not
                    self._counters.add("manifests_missing", reason=f"{ref.path}: {error}")
        self._manifests = {sha256: row for sha256, row in self._manifests.items() if sha256 in refs}
        known = self._fleet() if refs else ()
        with self._database.read() as connection:
            envelopes = devices.assignments(connection)
        chunks: dict[str, int] = {}
        for release, variants in picked(rollouts, self._manifests, known).values():
            chunks |= chunks_of(release, variants)
        sizes = {
            chunk.sha256: chunk.wire_bytes
            for release in self._manifests.values()
            for entry in release.files
            for chunk in entry.chunks
        }
        asked = [(name, sizes[name]) for name in self._needs.kept(self._clock.now()) if name in sizes]
        # Metadata before targets: a rollout signed in between then misses a document for one turn, never the reverse.
        stamp = self._repository.version_stamp()
        metadata, targets = self._repository.metadata(), self._repository.targets()
        if self._repository.version_stamp() != stamp:
            self._look.set()
        return wanted(
            self._topics,
            chunks=chunks,
            asked=asked,
            targets=targets,
            metadata=metadata,
            assignments=envelopes,
            budget_bytes=self._budget_bytes,
        )

    def _put(self, want: Wanted, session: int) -> None:
        assert self._present is not None
        sent: dict[str, tuple[str, int]] = {}
        missing = [item for item in want.items if self._present.get(item.topic) != item.digest]
        self._announce(item.topic for item in missing)
        for item in missing:
            payload = item.payload if item.payload is not None else self._repository.chunk(item.digest)
            if payload is None:
                self._counters.add("chunks_missing", reason=f"{item.topic} is named and not in the repository")
                continue
            self._send(item.topic, payload, session)
            sent[item.topic] = (item.digest, len(payload))
        self._flush(session)
        names = want.by_topic
        gone = [topic for topic in self._present if topic not in names]
        if sent or gone:
            with self._database.write() as connection:
                retained.put(connection, sent | dict.fromkeys(gone, (UNSETTLED, 0)))
            for topic in gone:
                self._send(topic, b"", session)
            self._present |= {topic: digest for topic, (digest, _) in sent.items()}
            for topic in gone:
                del self._present[topic]
            self._send(self._topics.note, marker(settled(self._present)), session)
            self._flush(session)
            with self._database.write() as connection:
                retained.drop(connection, gone)
            self._counters.add("published", len(sent))
            self._counters.add("published_bytes", sum(size for _, size in sent.values()))
            self._counters.add("cleared", len(gone))

    def _answer_needs(self, session: int) -> None:
        """Send what was asked for. The repository is read, and the broker's receipt awaited, once for all of them."""
        needs: list[Need] = []
        with contextlib.suppress(queue.Empty):
            while len(needs) < NEEDS_AT_ONCE:
                needs.append(self._asked.get_nowait())
        if not self._asked.empty():
            self._look.set()
        now = self._clock.now()
        granted = [(need, name) for need in needs for name in self._grant(need, now)]
        if not granted:
            return
        targets, metadata = self._repository.targets(), self._repository.metadata()
        answers: list[tuple[str, str, bytes]] = []
        for need, name in granted:
            found = self._find(need, name, targets, metadata)
            if found is None:
                self._counters.add("needs_unknown", reason=f"{need.device} asks for {name[:80]}, which is nowhere")
                continue
            answers.append(found)
            if name in need.chunks:
                self._needs.keep([name], now)
        self._announce(topic for topic, _, _ in answers)
        sent: dict[str, tuple[str, int]] = {}
        for topic, digest, payload in answers:
            self._send(topic, payload, session)
            sent[topic] = (digest, len(payload))
            self._counters.add("needs_answered")
        if sent:
            self._note(sent, session)

    def _grant(self, need: Need, now: float) -> list[str]:
        """Return which of the names in `need` to look for now."""
        send, too_many = self._needs.ask(need.device, [*need.chunks, *need.targets, *need.metadata], now)
        if too_many:
            self._counters.add("needs_over_share", too_many, reason=f"{need.device} asks for more than its share")
        return send

    def _find(
        self, need: Need, name: str, targets: Mapping[str, bytes], metadata: Mapping[str, bytes]
    ) -> tuple[str, str, bytes] | None:
        """Return topic, digest and payload of what a device calls `name`, or None when there is no such thing.

        A topic is made of a name that was found only: what a device writes there may be no name at all.
        """
        if name in need.chunks:
            payload = self._repository.chunk(name)
            return None if payload is None else (self._topics.chunk(name), name, payload)
        if name in need.targets:
            payload = targets.get(name)
            return None if payload is None else (self._topics.target(name), name, payload)
        payload = metadata.get(name)
        return None if payload is None else (self._topics.trust(name), sha256_hex(payload), payload)

    def _announce(self, topics: Iterable[str]) -> None:
        """Write down what is about to be sent: a topic that is retained and that nobody knows of would stay for ever."""
        assert self._present is not None
        new = [topic for topic in topics if topic not in self._present]
        if new:
            with self._database.write() as connection:
                retained.put(connection, dict.fromkeys(new, (UNSETTLED, 0)))
            self._present |= dict.fromkeys(new, UNSETTLED)

    def _note(self, sent: Mapping[str, tuple[str, int]], session: int) -> None:
        """Write down what was sent beside the plan, here and on the broker."""
        assert self._present is not None
        with self._database.write() as connection:
            retained.put(connection, sent)
        self._present |= {topic: digest for topic, (digest, _) in sent.items()}
        self._send(self._topics.note, marker(settled(self._present)), session)
        self._flush(session)

    def _send(self, topic: str, payload: bytes, session: int) -> None:
        if self._broker.session != session:
            raise LostBroker
        if self._watched(topic):
            self._seen.sent(topic, payload)
        self._broker.publish(topic, payload, retain=True)
        if self._broker.unflushed >= FLUSH_EVERY:
            self._flush(session)

    def _watched(self, topic: str) -> bool:
        """Chunks are not: to hear each again would cost as much as to send it."""
        return not topic.startswith(f"{self._topics.prefix}/chunk/")

    def _flush(self, session: int) -> None:
        began = time.monotonic()
        if not self._broker.flush(session, FLUSH_TIMEOUT_S):
            LOG.info("the broker did not take all of it within %.1f s", time.monotonic() - began)
            raise LostBroker
