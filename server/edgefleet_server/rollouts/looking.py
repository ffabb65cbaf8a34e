"""The facts of a rollout: its devices, weighed, and the two models on them. Reads; what was compared is kept by whoever moves them."""

import threading
import time
from dataclasses import dataclass

from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import ReleaseRef

from ..config import ServerConfig
from ..seams import Clock, Repository
from ..store.database import Database
from ..store.devices import Device
from ..store.fleet import Fleet
from ..store.rollouts import Record
from .agreement import Agreement, agreement
from .compare import Comparison
from .comparing import Comparer
from .decide import Compared
from .evidence import Evidence, Settled, weigh
from .gates import Tally, tally
from .learner import Learner
from .pairs import Pair
from .predict import Predictor

SHARE = 10.0
"""What was weighed stands for so many times as long as it took, while no device changed: deadlines and silences are minutes."""


@dataclass(frozen=True)
class Weighed:
    """One moment of a rollout."""

    evidence: tuple[Evidence, ...]
    counts: Tally
    fleet: tuple[Device, ...]


@dataclass(frozen=True)
class _Known:
    facts: tuple[object, ...]
    until_s: float
    found: Weighed


class Looker:
    """Looks at the fleet for everybody who asks about rollouts; what did not change is not looked at again."""

    def __init__(
        self, repository: Repository, database: Database, config: ServerConfig, clock: Clock, *, keeps: bool = True
    ) -> None:
        """keeps: whether what is compared is stored; only for whoever moves rollouts."""
        self._repository, self._database, self._config, self._clock = repository, database, config, clock
        self._fleet = Fleet()
        self._comparer = Comparer(database, keeps=keeps)
        self.learner = Learner(database)
        self._lock = threading.RLock()
        self._manifests: dict[str, Release] = {}
        self._predictors: dict[int, Predictor] = {}
        self._weighed: dict[int, _Known] = {}
        self._agreed: dict[tuple[str, str], Agreement] = {}
        self._settled: dict[int, dict[str, Settled]] = {}

    def look(self) -> None:
        """Bring what is known of devices up to date."""
        with self._lock, self._database.read() as connection:
            self._fleet.look(connection)

    def every(self) -> tuple[Device, ...]:
        """Return all devices as they are now, by name. Of their states those alone are decoded that changed."""
        with self._lock:
            self.look()
            return self._fleet.every()

    def learn(self) -> None:
        """Take in what devices measured."""
        with self._lock:
            self.learner.look(self._fleet.every(), self._repository.releases(), self._clock.now())

    def follow(self, current: tuple[Record, ...]) -> None:
        """Take in what the controller that leads has found since, in a process that does not; nothing is written."""
        with self._lock:
            self.look()
            self.learner.follow(self._fleet.every())
            self._comparer.forget(())
            self.forget_others(current)

    def weigh(self, record: Record) -> Weighed:
        """Return what every device of the record's region is to it, as of the last look."""
        with self._lock:
            now, began_s = self._clock.now(), time.monotonic()
            # Not its words: they change with every look.
            facts = (record.assignment, record.policy, record.admitted_s, self._fleet.version)
            known = self._weighed.get(record.id)
            if known is not None and known.facts == facts and began_s < known.until_s:
                return known.found
            if known is None or known.facts[:-1] != facts[:-1]:
                self._settled[record.id] = {}
            fleet = self._fleet.of(record.region)
            found = weigh(
                record,
                self.manifest(record.assignment.release),
                fleet,
                now,
                self._config.rollouts.offline_after_s,
                self._predictor(record),
                self._settled.setdefault(record.id, {}),
            )
            weighed = Weighed(found, tally(found), fleet)
            ended_s = time.monotonic()
            age_s = max(self._config.rollouts.tick_s, SHARE * (ended_s - began_s))
            self._weighed[record.id] = _Known(facts, ended_s + age_s, weighed)
            return weighed

    def compare(self, record: Record, weighed: Weighed) -> Compared | None:
        """Return what is known of the model against the one before; None where nobody asks."""
        with self._lock:
            fleet = {device.id: device for device in weighed.fleet}
            return self._comparer.look(record, weighed.evidence, fleet, self._clock.now(), self.agreement(record))

    def agreement(self, record: Record) -> Agreement | None:
        """Return how the golden answers of the release agree with those of the one before; None where no gate asks."""
        rules = (row.gate.not_worse for row in record.assignment.stages)
        asked = any(row is not None and row.agreement_percent is not None for row in rules)
        if record.previous is None or not asked:
            return None
        refs = record.previous.release, record.assignment.release
        key = refs[0].sha256, refs[1].sha256
        if key not in self._agreed:
            self._agreed[key] = agreement(self.manifest(refs[0]), self.manifest(refs[1]), self._read)
        return self._agreed[key]

    def _read(self, release: Release, name: str) -> bytes | None:
        """Return a file of a release, from its chunks."""
        pieces = []
        for chunk in release.file(name).chunks:
            payload = self._repository.chunk(chunk.sha256)
            if payload is None:
                return None
            pieces.append(unpack(payload, chunk))
        return b"".join(pieces)

    def pairs(self, record: Record) -> tuple[Pair, ...]:
        """Return the devices on which the model was compared with the one before."""
        with self._lock:
            return self._comparer.pairs(record)

    def found(self, record: Record) -> Comparison:
        """Return what is known of the model against the one before, without looking for more."""
        with self._lock:
            return self._comparer.found(record, self.agreement(record))

    def later(self, record: Record) -> Comparison | None:
        """Return the same by what devices served later; None where no stage is judged on."""
        with self._lock:
            return self._comparer.later(record)

    def manifest(self, ref: ReleaseRef) -> Release:
        """Return a release; they never change, so each is read once."""
        found = self._manifests.get(ref.sha256)
        if found is None:
            found = self._manifests[ref.sha256] = self._repository.manifest(ref)[0]
        return found

    def forget_others(self, current: tuple[Record, ...]) -> None:
        """Remember nothing of rollouts whose place another took."""
        with self._lock:
            numbers = {record.id for record in current}
            self._weighed = {number: row for number, row in self._weighed.items() if number in numbers}
            self._settled = {number: row for number, row in self._settled.items() if number in numbers}
            self._predictors = {number: row for number, row in self._predictors.items() if number in numbers}
            self._comparer.forget(numbers)

    def _predictor(self, record: Record) -> Predictor:
        found = self._predictors.get(record.id)
        told = self.learner.table(record.release, record.region)
        if found is None or found.policy != record.policy or found.measured != told:
            ref = record.assignment.release
            found = self._predictors[record.id] = Predictor(self.manifest(ref), ref.sha256, record.policy, told)
            self._settled[record.id] = {}
        return found
