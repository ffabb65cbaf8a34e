"""From what came to what may be obeyed: ask ahead by hints, look once, store what was verified, read the assignment.

Nothing is obeyed that was not verified and stored first.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from msgspec.structs import replace

from edgefleet_protocol.codec import decode, encode, sha256_hex
from edgefleet_protocol.dsse import open_envelope
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.messages import Need
from edgefleet_protocol.rollout import DeviceAssignment
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE

from . import __version__
from .conditions import DISK_AGAIN_S, NO_SPACE, Hold
from .config import Config
from .errors import disk_trouble
from .hints import Sources, claimed_region, hints
from .journal import Journal, with_events
from .knowledge import Asked, Knowledge
from .log import LOG
from .observe import Now
from .seams import Link, Looked, Looker, LookRequest, Missing, Refused
from .signatures import verifiers
from .store import Store


class Looking:
    """The trust part of a turn."""

    def __init__(
        self, config: Config, topics: Topics, link: Link, store: Store, looker: Looker, journal: Journal
    ) -> None:
        self.knowledge = Knowledge(ask_again_s=config.fetch.patience_s / 2)  # a document is smaller than a chunk
        self._config, self._topics, self._link = config, topics, link
        self._store, self._looker, self._journal = store, looker, journal
        self._refused_envelope = ""
        self._hold: Hold | None = None
        """What was verified found no space on the disk."""
        self._expired = False
        """By the clock of this turn, something that was verified has ended."""
        self._asked_ahead_of: object = None
        """What was here when hints were last read: while nothing came, they say nothing new."""

    def step(self, moment: Now, free_bytes: int) -> float:
        """Do what there is to do about trust; return when to come again, in monotonic seconds.

        Starts at most one look, and none while what it would need is still under way.
        free_bytes: on the disk, now.
        """
        if self._hold is not None:
            self._hold = self._hold.after(free_bytes, moment.monotonic_s)
            if self._hold is None:
                self.knowledge.retry_at = moment.monotonic_s
        expires = self._store.facts.trust.expires
        self._expired = expires is not None and moment.wall_s >= expires.timestamp()
        again = self._step(moment)
        return again if self._hold is None else min(again, moment.monotonic_s + DISK_AGAIN_S)

    def _step(self, moment: Now) -> float:
        now, knowledge = moment.monotonic_s, self.knowledge
        self._link.unsubscribe(self.topics_of(knowledge.take_stale()))
        self._ask_again(now)
        self._check_assignment()
        if not self._is_due(now):
            self._asked_ahead_of = None
            return max(knowledge.next_look(now), now + 1.0)
        self._ask_ahead(now)
        if now < knowledge.patience(now):
            return knowledge.patience(now)
        if self._look(moment):
            self._check_assignment()
        return now if self._is_due(now) and not knowledge.waits() else knowledge.next_look(now)

    def topics_of(self, asked: Sequence[Asked]) -> list[str]:
        """Return the topics of what is asked for."""
        return [self._topics.trust(name) if kind == "trust" else self._topics.target(name) for kind, name in asked]

    def _region(self) -> str | None:
        return self._store.facts.facts.region

    def _is_due(self, now: float) -> bool:
        verified = self.knowledge.verified(self._store.facts.trust, self._region()) and self._store.facts.is_whole()
        return self.knowledge.is_due(self._region(), verified, self._expired, now)

    # --- asking

    def _ask_ahead(self, now: float) -> None:
        """Subscribe to what the look will need, so that it need not say so in five rounds."""
        knowledge, region = self.knowledge, self._region()
        here_now = (knowledge.key(region), *map(frozenset, (knowledge.metadata, knowledge.targets)), knowledge.envelope)
        if here_now == self._asked_ahead_of:
            return
        self._asked_ahead_of = here_now
        here = Sources(self._root(), self._store.facts.trust.cache, knowledge.metadata, self._targets())
        # A new device learns its region only from a look; what its assignment claims is good enough to ask ahead.
        found = hints(here, region or claimed_region(knowledge.envelope))
        self._link.subscribe(self.topics_of(knowledge.hint(found, now)))

    def _ask_again(self, now: float) -> None:
        """What a look missed and did not come is asked for again, and the hub is told."""
        late = self.knowledge.overdue(now) if self._link.connected_session() is not None else []
        if not late:
            return
        topics = self.topics_of(late)
        self._link.unsubscribe(topics)
        self._link.subscribe(topics)
        metadata = [name for kind, name in late if kind == "trust"]
        if any(name.endswith(".root.json") for name in metadata):
            # Roots that nobody has: somebody wrote a false `head`, which is not signed, and only the hub can put it right.
            metadata.insert(0, "head")
        need = Need(
            device=self._config.device,
            metadata=tuple(metadata[:64]),
            targets=tuple(name for kind, name in late if kind == "target")[:64],
        )
        self._link.publish(self._topics.of_device(self._config.device, "need"), encode(need))

    # --- looking

    def _root(self) -> bytes:
        return self._store.disk.read(self._config.root)

    def _targets(self) -> dict[str, bytes]:
        return {**self._store.facts.documents(), **self.knowledge.targets}

    def _look(self, moment: Now) -> bool:
        """Look once; return whether it passed and is stored."""
        now, knowledge, region, trust = moment.monotonic_s, self.knowledge, self._region(), self._store.facts.trust
        request = LookRequest(
            root=self._root(),
            cache=trust.cache,
            memory=trust.memory(),
            held=dict(knowledge.metadata),
            targets=self._targets(),
            region=region,
            now=datetime.fromtimestamp(moment.wall_s, timezone.utc),
        )
        try:
            result = self._looker.look(request)
        except Exception as error:  # a child that died or a full disk: nothing was judged, and what runs keeps running
            if knowledge.note_unfinished(f"the look could not be finished: {error}", region, now):
                self._journal.tell("look-failed", str(error))
            return False
        if not isinstance(result, Looked) and result.roots:
            self._keep_roots(result.roots)
        if result == Missing():
            why = "the look misses something and does not say what"
            if knowledge.note_unfinished(why, region, now):
                LOG.warning("look-failed: %s", why)
            return False
        if isinstance(result, Missing):
            self._link.subscribe(self.topics_of(knowledge.note_missing(result, now)))
            return False
        if isinstance(result, Refused):
            if knowledge.note_refused(result.reason, region, now):
                self._journal.tell("refused", result.reason)
            return False
        return self._obey(result, region, now)

    def _keep_roots(self, roots: Mapping[str, bytes]) -> None:
        try:
            self._store.facts.put_roots(roots)
        except OSError as error:  # the next look verifies them again
            LOG.warning("newer roots could not be stored: %s", error)

    def _obey(self, looked: Looked, region: str | None, now: float) -> bool:
        knowledge, before = self.knowledge, self._store.facts.trust.refused
        timestamp, head = knowledge.metadata["timestamp.json"], knowledge.metadata.get("head", b"")
        try:
            self._store.facts.put_looked(looked, region, timestamp, head)
        except OSError as error:
            kind, words = disk_trouble(error)
            why = f"{words} while storing what was verified"
            if knowledge.note_unfinished(why, region, now):
                self._journal.tell(kind, why)
            self._hold = Hold(why, math.inf, full=True) if kind == NO_SPACE else None
            return False
        self._hold = None
        for path, reason in looked.refused_releases.items():
            if before.get(path) != reason:
                self._journal.tell("refused", f"{path}: {reason}", release=path)
        if knowledge.refused is not None:
            LOG.info("trust: verified again; before: %s", knowledge.refused)
        knowledge.note_looked(region)
        LOG.info("verified: %s", ", ".join(f"{role} {number}" for role, number in sorted(looked.versions.items())))
        return True

    def _check_assignment(self) -> None:
        """Obey the assignment with the highest number that a known key signed for this very device."""
        envelope, facts = self.knowledge.envelope, self._store.facts.facts
        keys = self._store.facts.trust.command_keys
        if envelope is None or not keys:
            return
        try:
            payload = open_envelope(envelope, DEVICE_ASSIGNMENT_TYPE, verifiers(keys))
            mine = decode(payload, DeviceAssignment, agent_version=__version__)
            if mine.device != self._config.device:
                raise ProtocolError(f"it is for {mine.device} and this is {self._config.device}")
        except ProtocolError as error:
            self.knowledge.envelope = None
            # It is retained, so it comes again with every connection; it is told of once.
            if self._refused_envelope != (digest := sha256_hex(envelope)):
                self._refused_envelope = digest
                self._journal.tell("refused", f"assignment: {error}")
            return
        if mine.number > facts.assignment_number:
            frozen = f", frozen: {mine.frozen}" if mine.frozen else ""
            text = f"region {mine.region}, tags {', '.join(mine.tags) or 'none'}{frozen}"
            told = self._journal.event("assigned", text)
            moved = replace(
                facts,
                assignment_number=mine.number,
                region=mine.region,
                tags=mine.tags,
                frozen=mine.frozen,
                joined=mine.joined,
            )
            try:
                self._store.facts.put(with_events(moved, [told]))
            except OSError:
                return  # it is kept in memory and tried at the next turn
            self._journal.say(told)
        self.knowledge.envelope = None
