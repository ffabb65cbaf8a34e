"""Plans a rollout and starts it: what is started is what was planned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Assignment, NotWorse, Policy, ReleaseRef

from ..config import ServerConfig
from ..errors import Refused
from ..regions.current import policy_of
from ..seams import Clock, Repository
from ..store import audit, comparisons, planning, releases, rollouts
from ..store.database import Connection, Database
from ..store.rollouts import Record
from . import documents, waves
from .compare import devices_needed, expected_s, wanted
from .comparing import rules_of
from .emptiness import in_words, widened, widened_words
from .looking import Looker
from .orders import Checked, Order, check, numbers_of
from .plan import Known, RegionPlan, plan_of
from .plan_digest import differences, parse, together
from .taking import before_it_starts, taken
from .words import devices_in_words, span

ASKED = 200
"""Devices of a stage whose requests are counted, to say when a verdict can be expected."""
LATELY_S = 3600.0


@dataclass(frozen=True)
class _Planned:
    """One region's plan, and what it was made of."""

    row: RegionPlan
    assignment: Assignment
    members: tuple[Known, ...]
    current: Record | None
    """The rollout of the model that stood there then."""


class Beginner:
    """Plans, and stores what was started. Signing comes after, by whoever holds the lease."""

    def __init__(
        self, repository: Repository, database: Database, config: ServerConfig, clock: Clock, looker: Looker
    ) -> None:
        self._repository, self._database, self._config, self._clock = repository, database, config, clock
        self._looker = looker

    def plan(self, order: Order) -> tuple[RegionPlan, ...]:
        """Return what `order` would do in each of its regions."""
        checked = self._checked(order)
        return tuple(self._plan(checked, region).row for region in checked.regions)

    def begin(self, order: Order, actor: str) -> tuple[RegionPlan, ...]:
        """Store the rollout that `order` describes, in all its regions or, when one refuses, in none."""
        checked = self._checked(order)
        now = self._clock.now()
        planned = tuple(self._plan(checked, region, now) for region in checked.regions)
        _refuse(order, [one.row for one in planned])
        begun = [(one, documents.opened(one.assignment, waves.first(one.assignment, one.members))) for one in planned]
        with self._database.write() as connection:
            for one, assignment in begun:
                self._start(connection, checked, one, assignment, actor, now)
        return tuple(one.row for one in planned)

    def _checked(self, order: Order) -> Checked:
        with self._database.read() as connection:
            once = releases.seen(connection)
        return check(order, self._repository, once)

    def _start(
        self,
        connection: Connection,
        checked: Checked,
        planned: _Planned,
        assignment: Assignment,
        actor: str,
        now: float,
    ) -> None:
        order, row = checked.order, planned.row
        current = of_model(rollouts.current(connection, row.region), checked.manifest.model)
        if _which(current) != _which(planned.current):
            # What was refused or allowed was so over another rollout, which another process has ended or begun since.
            there = "none is there any more" if current is None else f"{current.release} is {current.status} there now"
            raise Refused(
                f"{order.release} was not rolled out: the rollouts of {row.region} changed at this moment, and {there}. Plan it again, "
                f"and look at it: edgefleet rollout plan {order.release}"
            )
        signed = self._repository.rollout(row.region)
        previous, previous_policy = documents.base_of(checked.manifest.model, current, signed)
        why = f"{actor} started it for {devices_in_words(row.matched)}"
        if (cut_short := taken(current)) is not None:
            why += f", in the place of {cut_short}"
        if row.refused:
            why += f", by force, although {row.refused}"
        number = rollouts.add(
            connection,
            region=row.region,
            assignment=documents.told(assignment, ()),
            release=order.release,
            policy=self._policy(connection, order, row.region),
            previous=previous,
            previous_policy=previous_policy,
            why=why,
            now=now,
            by=actor,
        )
        audit.add(connection, audit.AuditRow(now, actor, "rollout.start", row.region, order.release, why))
        if current is not None and cut_short is not None:
            said = (
                f"cut short by {order.release} (rollout {number}): it was {current.status} at stage {current.stage + 1}"
            )
            audit.add(connection, audit.AuditRow(now, actor, "rollout.supersede", row.region, current.release, said))

    def _plan(self, checked: Checked, region: str, now: float | None = None) -> _Planned:
        model = checked.manifest.model
        moment = documents.moment(self._clock.now() if now is None else now)
        with self._database.read() as connection:
            policy = self._policy(connection, checked.order, region)
            current = of_model(rollouts.current(connection, region), model)
            base, _ = documents.base_of(model, current, self._repository.rollout(region))
            before = self._before(base, current)
            assignment = checked.assignment(now=moment)
            members = tuple(planning.members(connection, region, model))
            if checked.counts:
                # A stage of so many devices: their numbers say which share that is.
                assignment = checked.assignment(partial(numbers_of, members, assignment), moment)
            assignment = documents.told(assignment, self._looker.learner.table(checked.order.release, region))
            cut_short = taken(current) or ""
            said = [row.words for row in checked.order.every_stage]

            def planning_of(assignment: Assignment) -> RegionPlan:
                return plan_of(
                    region,
                    checked.manifest,
                    assignment,
                    policy,
                    members,
                    base,
                    before.values(),
                    before,
                    said,
                    cut_short,
                )

            planned, notes = planning_of(assignment), []
            if planned.shares:
                assignment = widened(assignment, dict(planned.shares))
                notes = [widened_words(place, said, region) for place in planned.shares]
                planned = planning_of(assignment)
            verdicts = self._verdicts(connection, planned, assignment, model, base is not None)
        if (note := before_it_starts(current, base, checked.order.release)) is not None:
            notes.append(note)
        refused = planned.refused or in_words(planned.empty, said, region)
        under_way = current is not None and current.status in ("running", "paused")
        if refused is None and current is not None and under_way and _is_same(current.assignment, assignment):
            # Else a start that is typed again, with its default of everybody at once, would end the stages of the first.
            refused = (
                f"{checked.order.release} is under way in {region} already, at stage {current.stage + 1} of "
                f"{len(current.assignment.stages)}"
            )
        row = replace(planned, verdicts=verdicts, refused=refused, notes=tuple(notes))
        return _Planned(row, assignment, members, current)

    def _before(self, base: Assignment | None, current: Record | None) -> dict[str, Release]:
        refs: dict[str, ReleaseRef] = {
            row.release.sha256: row.release for row in (base, current.assignment if current else None) if row
        }
        # A release that was gone back from is none that a device keeps.
        if current is not None and current.status == "gone-back":
            refs.pop(current.assignment.release.sha256, None)
        return {sha256: self._looker.manifest(ref) for sha256, ref in refs.items()}

    def _verdicts(
        self, connection: Connection, planned: RegionPlan, assignment: Assignment, model: str, is_over: bool
    ) -> tuple[str, ...]:
        """Say for each stage when its gate can be expected to know of the model."""
        found = []
        by_stage: dict[int, list[str]] = {}
        for number, device in planned.numbers:
            by_stage.setdefault(number, []).append(device)
        together: dict[str, float] = {}
        sizes = [sum(counts[place] for counts in planned.classes.values()) for place in range(len(assignment.stages))]
        for place in range(len(assignment.stages)):
            rules = rules_of(assignment, place)
            if rules is None:
                found.append("nothing is compared: its gate counts proofs and failures only")
                continue
            if not is_over:
                found.append("nothing ran before, so there is nothing to compare with")
                continue
            names = by_stage.get(place, [])[:ASKED]
            together |= comparisons.rates(connection, names, model, self._clock.now() - LATELY_S)
            found.append(_verdict(rules, sum(sizes[: place + 1]), together))
        return tuple(
            f"{words}; then it is judged on for {span(stage.soak_s)}" if stage.soak_s else words
            for words, stage in zip(found, assignment.stages, strict=True)
        )

    def _policy(self, connection: Connection, order: Order, region: str) -> Policy:
        own = (order.policies or {}).get(region)
        return own if own is not None else policy_of(connection, region, self._config)


def of_model(records: tuple[Record, ...], model: str) -> Record | None:
    """Return the record of a model among those of one region, or None."""
    return next((record for record in records if record.model == model), None)


def _which(record: Record | None) -> tuple[int, str] | None:
    """What a plan goes by of the rollout before: whether it moved on a stage meanwhile changes nothing."""
    return None if record is None else (record.id, record.status)


def _is_same(one: Assignment, other: Assignment) -> bool:
    return one.release.sha256 == other.release.sha256


def _refuse(order: Order, plans: list[RegionPlan]) -> None:
    if breaks := [row.breaks for row in plans if row.breaks]:
        raise Refused(
            f"{order.release} was not rolled out: {'; '.join(breaks)}. If the applications there know of it, accept "
            "it: --accept-interface-change"
        )
    refused = [row for row in plans if row.refused]
    if refused and not order.force:
        whole = "; ".join(f"{row.refused}{_left_out(row)}" for row in refused)
        raise Refused(f"{order.release} was not rolled out: {whole}. To go on all the same, force it")
    if order.plan_digest and order.plan_digest != (now := whole_digest(plans)):
        planned = parse(order.plan_digest)
        changed = (
            "that is no line that a plan of this server printed"
            if planned is None
            else "; ".join(differences(planned, together([row.parts for row in plans])))
        )
        raise Refused(
            f"{order.release} was not rolled out: it would not do what was planned: {changed}. Plan it again, and look at it: edgefleet "
            f"rollout plan {order.release}; what it comes to now is {now}"
        )


def whole_digest(plans: Sequence[RegionPlan]) -> str:
    """Return what the plans of all regions come to; of one region it is that plan's own."""
    return str(together([row.parts for row in plans]))


def _verdict(rules: NotWorse, devices: int, rates: Mapping[str, float]) -> str:
    after = "goes on" if rules.too_little == "go-on" else "pauses"
    if not wanted(rules):
        return (
            f"its gate compares and names no margin, so it {after} with too little evidence after {span(rules.wait_s)}"
        )
    enough = devices_needed((), rules)
    what = ", ".join(wanted(rules))
    if enough is None or devices < enough:
        many = f"about {enough}" if enough is not None else f"more than {rules.max_devices}"
        return (
            f"{what}: {devices_in_words(devices)} until then and {many} are needed to say that it is not worse, so it {after} with too "
            f"little evidence after {span(rules.wait_s)}, unless it is clearly worse"
        )
    known = expected_s([*rates.values()], rules, 0, min(enough, devices)) if rates else None
    when = (
        f"expected in {span(known)}"
        if known is not None
        else "nobody can say when: too few devices served requests in the last hour"
    )
    return f"{what}: a verdict takes about {enough} devices, {when}"


def _left_out(row: RegionPlan) -> str:
    said = ", ".join(f"{left.device}: {left.why}" for left in row.left_out[:5])
    return f" ({said})" if said else ""
