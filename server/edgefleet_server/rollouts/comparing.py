"""Compares devices before and after their switch, as their telemetry comes in: each once, and what was found is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from edgefleet_protocol.rollout import Assignment, NotWorse

from ..store import comparisons
from ..store.database import Database
from ..store.devices import Device
from ..store.rollouts import Record
from .agreement import Agreement
from .compare import Comparison, compare, expected_s
from .decide import Compared
from .evidence import Evidence, class_of
from .pairs import BEFORE_S, Pair, drift_of, has_enough, pair_of

LOOK_S = 10.0
"""A device sends a window each minute or so; to ask for them more often finds nothing new."""

DRIFT_S = 60.0
"""As seldom are those asked that kept the model before, while it looks worse."""

KEPT = 40
"""Devices that kept the model before, which are asked whether everything changed."""


@dataclass
class _Known:
    """What is remembered of one rollout between looks. All of it can be read again."""

    pairs: list[Pair]
    later: list[Pair]
    """Of devices that were compared a second time, by what they served later."""
    looked_s: float = float("-inf")
    rates: dict[str, float] = field(default_factory=dict)
    turn: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    """Whose turn it is to be read, the first time and later."""
    drifted_s: float = float("-inf")
    drifts: Sequence[float] = ()
    """By how much latency changed on devices that kept the model before."""


class Comparer:
    """One for the controller. Not for several threads at once."""

    def __init__(self, database: Database, *, keeps: bool = True) -> None:
        """keeps: whether what it compares is stored. Only whoever moves rollouts may: what it has weighed lies in its memory, and
        after a restart it must find the same, not what another process read of the same devices at another moment."""
        self._database, self._keeps = database, keeps
        self._known: dict[int, _Known] = {}

    def look(
        self,
        record: Record,
        evidence: Sequence[Evidence],
        fleet: Mapping[str, Device],
        now: float,
        agreed: Agreement | None = None,
    ) -> Compared | None:
        """Return what is known of the model against the one before; None where the open stage's gate does not ask."""
        rules = rules_of(record.assignment, record.stage)
        if rules is None or record.previous is None:
            return None  # nothing ran before that it could be worse than
        known = self._of(record)
        if now - known.looked_s >= LOOK_S:
            self._more(record, rules, known, evidence, fleet)
            known.looked_s = now
        found, later = compare(known.pairs, rules, agreed, known.drifts), self.later(record)
        worse = found.result == "worse" or (later is not None and later.result == "worse")
        if worse and rules.latency_percent is not None and now - known.drifted_s >= DRIFT_S:
            # Only now: what everything changed by can only keep a release from being stopped, and is a week of many devices.
            self._drifts(record, rules, known, evidence, fleet)
            known.drifted_s = now
            found, later = compare(known.pairs, rules, agreed, known.drifts), self.later(record)
        done = {pair.device for pair in known.pairs}
        waiting = [known.rates[row.device] for row in _runs(evidence, done) if row.device in known.rates]
        return Compared(found, expected_s(waiting, rules, len(done), found.needed), later)

    def found(self, record: Record, agreed: Agreement | None) -> Comparison:
        """Return what the devices that were compared say, by the open stage's gate; where it does not ask, by the usual margins."""
        if record.previous is None:
            return Comparison("too little", "nothing ran before, so there is nothing to compare with")
        known = self._of(record)
        return compare(known.pairs, rules_of(record.assignment, record.stage) or NotWorse(), agreed, known.drifts)

    def later(self, record: Record) -> Comparison | None:
        """Return what they say by what they served later; None where the open stage does not ask, or no stage is judged on."""
        rules = rules_of(record.assignment, record.stage)
        if rules is None or record.previous is None or not soaks(record.assignment):
            return None
        known = self._of(record)
        # Golden answers are the same ones later.
        return compare(known.later, msgspec.structs.replace(rules, agreement_percent=None), None, known.drifts)

    def pairs(self, record: Record) -> tuple[Pair, ...]:
        """Return the devices that were compared."""
        return tuple(self._of(record).pairs)

    def forget(self, rollouts: Iterable[int]) -> None:
        """Remember only these: the others are over."""
        kept = set(rollouts)
        self._known = {number: row for number, row in self._known.items() if number in kept}

    def _of(self, record: Record) -> _Known:
        known = self._known.get(record.id)
        if known is None:
            with self._database.read() as connection:
                known = self._known[record.id] = _Known(
                    list(comparisons.of(connection, record.id)),
                    list(comparisons.of(connection, record.id, later=True)),
                    drifts=comparisons.drifts(connection, record.id),
                )
        return known

    def _drifts(
        self,
        record: Record,
        rules: NotWorse,
        known: _Known,
        evidence: Sequence[Evidence],
        fleet: Mapping[str, Device],
    ) -> None:
        names = _kept(evidence, fleet)
        if not names:
            return  # the last stage is open: what was seen before stands
        with self._database.read() as connection:
            windows = comparisons.seen(connection, names, record.model, record.started_s - BEFORE_S)
        found = (drift_of(windows[name], record.release, record.started_s, rules) for name in names)
        known.drifts = [drift for drift in found if drift is not None]
        if not self._keeps:
            return
        # For whoever shows the comparison in another process, or after this one: what is seen now may not be there to read again.
        with self._database.write() as connection:
            comparisons.put_drifts(connection, record.id, known.drifts)

    def _more(
        self,
        record: Record,
        rules: NotWorse,
        known: _Known,
        evidence: Sequence[Evidence],
        fleet: Mapping[str, Device],
    ) -> None:
        found = self._compare(record, rules, known, known.pairs, evidence, fleet)
        later_s = record.assignment.stages[record.stage].soak_s / 2
        # Only once the gate is open: before, each device has the first comparison ahead of it.
        late = (
            self._compare(record, rules, known, known.later, evidence, fleet, later_s)
            if later_s and record.soaking_s is not None
            else []
        )
        if found or late:
            if self._keeps:
                with self._database.write() as connection:
                    comparisons.add(connection, record.id, found)
                    comparisons.add(connection, record.id, late, later=True)
            known.pairs = _in_order([*known.pairs, *found])
            known.later = _in_order([*known.later, *late])

    def _compare(
        self,
        record: Record,
        rules: NotWorse,
        known: _Known,
        before: Sequence[Pair],
        evidence: Sequence[Evidence],
        fleet: Mapping[str, Device],
        later_s: float = 0.0,
    ) -> list[Pair]:
        """Return the devices that can be compared now and are not among those `before`."""
        done = {pair.device for pair in before}
        # No more than are needed are ever read, however large the fleet is.
        running = [row.device for row in _runs(evidence, done)]
        start = known.turn[later_s > 0] % max(len(running), 1)
        names = [*running[start:], *running[:start]][: max(rules.max_devices - len(done), 0)]
        known.turn[later_s > 0] += len(names)  # those of which little comes must not stand before the others
        if not names:
            return []
        power = rules.energy_percent is not None
        with self._database.read() as connection:
            mine = comparisons.served(connection, names, record.model, record.release, record.started_s)
            # The week before is read of those only that have served enough since: it is thousands of windows a device.
            ready = [name for name in names if has_enough(mine[name], rules, later_s)]
            since_s = record.started_s - BEFORE_S
            windows = comparisons.seen(connection, ready, record.model, since_s, power=power) if ready else {}
        known.rates |= {name: rate for name in names if (rate := _rate(mine[name])) > 0}
        pairs = (
            pair_of(
                name, class_of(fleet[name].hardware), windows[name], record.release, record.started_s, rules, later_s
            )
            for name in ready
        )
        return [pair for pair in pairs if pair is not None]


def soaks(assignment: Assignment) -> bool:
    """Return whether some stage of a rollout is judged on after its gate opened, so that devices are compared twice."""
    return any(stage.soak_s for stage in assignment.stages)


def rules_of(assignment: Assignment, place: int) -> NotWorse | None:
    """Return how much worse the model may be by a stage; where devices are compared twice, each time with half of alpha."""
    rules = assignment.stages[place].gate.not_worse
    if rules is None or not soaks(assignment):
        return rules
    return msgspec.structs.replace(rules, alpha=rules.alpha / 2)


def _in_order(pairs: list[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (pair.at_s, pair.device))


def _kept(evidence: Sequence[Evidence], fleet: Mapping[str, Device]) -> list[str]:
    """Some devices that are not let in yet, from all over the alphabet."""
    rows = [
        row.device for row in evidence if row.standing == "outside" and (one := fleet.get(row.device)) and one.online
    ]
    return rows[:: max(len(rows) // KEPT, 1)][:KEPT]


def _runs(evidence: Iterable[Evidence], done: set[str]) -> list[Evidence]:
    return [
        row for row in evidence if row.serves and row.standing in ("proven", "under way") and row.device not in done
    ]


def _rate(windows: Sequence[tuple[float, int]]) -> float:
    """Requests in a second over the newest windows: from the first of them to the last, whose own are left out."""
    rows = windows[-20:]
    seconds = rows[-1][0] - rows[0][0] if rows else 0.0
    return sum(requests for _, requests in rows[:-1]) / seconds if seconds > 0 else 0.0
