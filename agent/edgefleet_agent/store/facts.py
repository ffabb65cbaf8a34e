"""The durable facts: two small documents, each always the old or the new one.

`Facts` is what this device did and saw; one document, so that a fact and the event that tells of it appear together.
`Trust` is what the last look verified. Nothing here can be worked out from the rest: `fetched`, `assembled`, `tried`
and the like are read off the stores.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.messages import Event, Failure, Measured
from edgefleet_protocol.names import is_sha256
from edgefleet_protocol.trust import PublicKey

from ..seams import Looked, Memory
from ..slots import slot_name
from ..tuning import Tuning
from . import durable
from .disk import Disk

MAX_EVENTS = 64
"""Events that wait for the broker; beyond it the oldest go, and the state still tells what they told."""
MAX_FAILURES = 64
MAX_PROVEN = 16


class Slot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A variant that has answered the golden inputs through the serving path."""

    slot: str
    release: str
    release_sha256: str
    variant: str
    variant_sha256: str
    since_s: float
    proven: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a release was first wished for here, for its deadline."""

    release_sha256: str
    first_seen_s: float
    clock_trusted: bool = True


class ChoiceFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which variant was chosen. `key` names what the choice depends on; while it holds, the choice does."""

    key: str
    release_sha256: str
    variant: str | None
    why: str


class TrialFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trial that passed, or how often one was begun that brought no report."""

    slot: str
    begun: int = 0
    passed: bool = False
    measured: Measured | None = None
    limits_held: dict[str, str] = {}
    board: str = ""
    """Name of board, system and runtimes under which it passed: under others it must be tried anew."""
    provider: str = ""
    """On which it passed."""
    refused: dict[str, str] = {}
    """Reason by provider, of those on which it failed here."""
    tuning: Tuning | None = None
    """How its sessions are best set up on this board."""
    tuning_why: str = ""
    engine: str = ""
    """Name of the folder of what the provider built in the trial; empty when it builds nothing."""


class Governed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the governor does with a release, and the choice that it departs from."""

    release_sha256: str
    chosen: str
    below: tuple[str, ...] = ()
    """The variants stepped down to, one after the other; the last is worked towards or runs. Empty: back at the chosen."""
    base: Slot | None = None
    """What it departed from: proven, and kept to go back to."""
    why: str = ""
    since_s: float = 0.0


class FleetPin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """This release and no other, by a signed command, until a time by the device's clock. It is one that was verified here."""

    release: str
    release_sha256: str
    by: str
    since_s: float
    until_s: float


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one model on this device."""

    wish: Wish | None = None
    choice: ChoiceFact | None = None
    trials: tuple[TrialFact, ...] = ()
    active: Slot | None = None
    previous: Slot | None = None
    failures: tuple[Failure, ...] = ()
    crashes: int = 0
    """Deaths of the active worker, until it is proven, or lives for a while: kept, so that a crash loop that takes the
    whole device down is counted too."""
    probation_s: float = 0.0
    """Time that the active one has behaved, in earlier runs of its worker and of the agent."""
    proven_slots: tuple[str, ...] = ()
    """The latest that were proven here."""
    governed: Governed | None = None
    recovered: tuple[str, ...] = ()
    """Releases that were found whole on the disk when the facts were lost; used until something is active."""
    strikes: int = 0
    """Releases that hurt real requests here, since one was proven."""
    struck_s: float = 0.0
    """When the last one did."""
    pin: FleetPin | None = None

    def trial(self, slot: str) -> TrialFact | None:
        """Return what is known of trials of a slot."""
        return next((row for row in self.trials if row.slot == slot), None)

    def with_trial(self, fact: TrialFact) -> "ModelFacts":
        """Return the facts with the trial of one slot replaced; the latest 8 are kept."""
        others = tuple(row for row in self.trials if row.slot != fact.slot)
        return msgspec.structs.replace(self, trials=(*others, fact)[-8:])

    def with_failure(self, failure: Failure) -> "ModelFacts":
        """Return the facts with one more failure; one that real requests met is a strike, too."""
        known = msgspec.structs.replace(self, failures=(*self.failures, failure)[-MAX_FAILURES:])
        if failure.stage not in ("switch", "probation") or self.was_proven(failure.release_sha256):
            return known
        return msgspec.structs.replace(known, strikes=self.strikes + 1, struck_s=failure.at_s)

    def with_proven(self, slot: str) -> "ModelFacts":
        """Return the facts with one more slot that is proven here."""
        rest = tuple(name for name in self.proven_slots if name != slot)
        return msgspec.structs.replace(self, proven_slots=(*rest, slot)[-MAX_PROVEN:], strikes=0, struck_s=0.0)

    def was_proven(self, release_sha256: str) -> bool:
        """Return whether a variant of a release is proven here."""
        begins = slot_name(release_sha256, "")
        slots = (row for row in (self.active, self.previous) if row is not None and row.proven)
        return any(name.startswith(begins) for name in self.proven_slots) or any(
            row.release_sha256 == release_sha256 for row in slots
        )


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What this device did and saw."""

    boots: int = 0
    """Starts of the agent. A session's number begins with it, so no number is ever used twice."""
    assignment_number: int = 0
    region: str | None = None
    tags: tuple[str, ...] = ()
    frozen: str = ""
    """Who froze this device and why, as its assignment says; empty: nobody."""
    models: dict[str, ModelFacts] = {}
    events: tuple[Event, ...] = ()
    event_number: int = 0
    bytes_received: int = 0
    dropped_windows: int = 0
    joined: datetime | None = None
    """Since when it belongs to its region, as its assignment says."""

    def model(self, name: str) -> ModelFacts:
        """Return what is known of a model; nothing for one that is new."""
        return self.models.get(name, ModelFacts())


class Trust(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the last look verified: stored before anything of it is obeyed. Bytes travel as base64."""

    cache: dict[str, bytes] = {}
    versions: dict[str, int] = {}
    keyids: dict[str, tuple[str, ...]] = {}
    floor: datetime | None = None
    floor_keyids: tuple[str, ...] = ()
    command_keys: tuple[PublicKey, ...] = ()
    verified: dict[str, int] = {}
    rollout: str | None = None
    """Digest of the rollout document, which lies in `documents/`."""
    manifests: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    timestamp_sha256: str = ""
    """Of the timestamp that was looked at: while it is the same, there is nothing new to see."""
    head_sha256: str = ""
    region: str | None = None
    expires: datetime | None = None
    """When the first of what was verified ends."""

    def memory(self) -> Memory:
        """Return the rollback memory for the next look."""
        return Memory(self.versions, self.keyids, self.floor, self.floor_keyids)


T = TypeVar("T")


class FactStore:
    """Reads and writes the documents. `facts` and `trust` are the current ones; assigning is by `put` only."""

    def __init__(self, disk: Disk, state: Path) -> None:
        self._disk, self._state = disk, state
        self.lost = False
        """Whether facts.json was damaged, so that what is on the disk must say what can serve."""
        self.problems: list[str] = []
        durable.remove_temporaries(disk, state)
        durable.remove_temporaries(disk, state / "documents")
        self.facts = self._read("facts.json", Facts, Facts())
        self.trust = self._read("trust.json", Trust, Trust())
        self._stored = self.facts

    def _read(self, name: str, kind: type[T], empty: T) -> T:
        """Return a document. One that cannot be read is set aside once, and everything is worked out anew."""
        path = self._state / name
        if self._disk.size(path) is None:
            return empty
        try:
            return msgspec.json.decode(self._disk.read(path), type=kind)
        except (msgspec.MsgspecError, OSError, UnicodeDecodeError) as error:
            self.lost = self.lost or name == "facts.json"
            self.problems.append(f"{name} could not be read ({error}); it was set aside as {name}.bad")
            self._disk.rename(path, path.with_name(name + ".bad"))
            return empty

    def put(self, facts: Facts) -> None:
        """Make `facts` the durable ones. When this raises OSError, the old ones stay, here and on disk."""
        if facts != self._stored:
            durable.write(self._disk, self._state / "facts.json", msgspec.json.encode(facts))
            self._stored = facts
        self.facts = facts

    def put_later(self, facts: Facts) -> None:
        """Remember `facts`, which may be lost in a cut: counters, and events that the broker has taken."""
        self.facts = facts

    def put_looked(self, looked: Looked, request_region: str | None, timestamp: bytes, head: bytes) -> None:
        """Make durable what a look verified: documents first, then the one that names them."""
        documents = dict(looked.manifests)
        rollout = None
        if looked.rollout is not None:
            rollout = sha256_hex(looked.rollout)
            documents[rollout] = looked.rollout
        # One that is there but that the last look did not name may be the leaving of an agent that was killed: a cut
        # would still take it, so it is written again.
        safe = self.documents()
        for digest, data in documents.items():
            if digest not in safe:
                durable.write(self._disk, self._state / "documents" / digest, data)
        trust = Trust(
            cache=dict(looked.cache),
            versions=dict(looked.memory.versions),
            keyids={role: tuple(ids) for role, ids in looked.memory.keyids.items()},
            floor=looked.memory.floor,
            floor_keyids=tuple(looked.memory.floor_keyids),
            command_keys=looked.command_keys,
            verified=dict(looked.versions),
            rollout=rollout,
            manifests=tuple(sorted(looked.manifests)),
            refused=dict(looked.refused_releases),
            timestamp_sha256=sha256_hex(timestamp),
            head_sha256=sha256_hex(head),
            region=request_region,
            expires=looked.expires,
        )
        if trust != self.trust:
            durable.write(self._disk, self._state / "trust.json", msgspec.json.encode(trust))
        self.trust = trust

    def put_roots(self, roots: Mapping[str, bytes]) -> None:
        """Make durable a chain to a newer root that was verified in a look which did not pass."""
        newest = max(int(name.partition(".")[0]) for name in roots)
        trust = msgspec.structs.replace(
            self.trust, cache={**self.trust.cache, **roots}, versions={**self.trust.versions, "root": newest}
        )
        durable.write(self._disk, self._state / "trust.json", msgspec.json.encode(trust))
        self.trust = trust

    def document(self, sha256: str) -> bytes | None:
        """Return a stored manifest or rollout document, or None when it is not here as its name says."""
        try:
            data = self._disk.read(self._state / "documents" / sha256)
        except OSError:
            return None
        return data if sha256_hex(data) == sha256 else None

    def is_whole(self) -> bool:
        """Return whether every document that the last look named is here."""
        names = [*self.trust.manifests, *([self.trust.rollout] if self.trust.rollout else [])]
        return all(self._disk.size(self._state / "documents" / name) is not None for name in names)

    def documents(self) -> Mapping[str, bytes]:
        """Return every stored document that the last look named, for the next look."""
        names = [*self.trust.manifests, *([self.trust.rollout] if self.trust.rollout else [])]
        found = {name: self.document(name) for name in names}
        return {name: data for name, data in found.items() if data is not None}

    def keep_documents(self, wanted: set[str]) -> None:
        """Remove documents that nobody needs."""
        for name in self._disk.list(self._state / "documents"):
            if is_sha256(name) and name not in wanted:
                self._disk.unlink(self._state / "documents" / name)
