"""The region's signed document, from what the records say. Pure."""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

import msgspec

from edgefleet_protocol.rollout import Assignment, ClassRow, Policy, Rollout, Stage
from edgefleet_protocol.trust import release_of_path

from ..store.rollouts import Record

TABLES_EVERY_S = 86400.0


def for_everybody(assignment: Assignment, *, way_back_of: Assignment | None = None) -> Assignment:
    """Return `assignment` in one stage of 100 %, as the base that a newer release is rolled out over.

    way_back_of: the newer one. If that may change the interface, the way back from it may change it back.
    """
    accepts = assignment.accept_interface_change or (way_back_of is not None and way_back_of.accept_interface_change)
    return msgspec.structs.replace(
        assignment,
        stages=(Stage(percent=100.0),),
        stage=0,
        accept_interface_change=accepts,
        opened_percent=None,
        joined_before=None,
        max_under_way=None,
    )


def assignments(record: Record) -> tuple[Assignment, ...]:
    """Return the assignments of the record's model, first the one that a device takes if it is admitted."""
    base = () if record.previous is None else (for_everybody(record.previous, way_back_of=record.assignment),)
    if record.status == "gone-back":
        return base
    if record.status == "complete":
        # An audience, or a last stage below 100 %, leaves some devices with what they had.
        return (for_everybody(record.assignment),) if is_for_all(record.assignment) else (record.assignment, *base)
    return (record.assignment, *base)


def policy(records: Iterable[Record], default: Policy) -> Policy:
    """Return the region's policy: of the rollout that was started last; a release that went takes its policy along.

    An older rollout that completes later brings its own policy back to nobody.
    """
    found = default
    for record in sorted(records, key=lambda record: record.id):
        if record.status != "gone-back":
            found = record.policy
        elif record.previous_policy is not None:
            found = record.previous_policy
    return found


def wish(
    region: str,
    records: Iterable[Record],
    before: Rollout | None,
    default: Policy,
    issued: datetime,
    listed: Collection[str],
    frozen: str = "",
    versioned: bool = False,
    tables: Callable[[str], tuple[ClassRow, ...]] = lambda release: (),
) -> Rollout | None:
    """Return the document that the region's devices should get now, or None when the one before says the same.

    versioned: `default` was applied to the region, so it holds where no rollout says otherwise; else what was signed does.
    frozen: who froze the region, and why; empty when nobody did.
    listed: digests of the listed releases. Unlisting is revocation: any other is in no document, also not as the way back.
    tables: what classes of devices measured, by release. Where nothing else is new, it goes out once a day at most: a new
    document wakes every device of the region.
    """
    records = tuple(records)
    rows = [row for record in records for row in assignments(record)]
    models = {record.model for record in records}
    # A model that the database knows nothing of was rolled out before the database began: it stays as it is.
    rows += [row for row in (before.assignments if before else ()) if row.model not in models]
    document = Rollout(
        region=region,
        serial=before.serial + 1 if before else 1,
        issued=issued,
        policy=policy(records, default if versioned or before is None else before.policy),
        assignments=tuple(_with_table(row, tables) for row in rows if row.release.sha256 in listed),
        frozen=frozen,
    )
    if before is None or (before.policy, before.frozen) != (document.policy, document.frozen):
        return document
    if before.assignments == document.assignments:
        return None
    if _bare(before) == _bare(document) and (issued - before.issued).total_seconds() < TABLES_EVERY_S:
        return None
    return document


def _with_table(row: Assignment, tables: Callable[[str], tuple[ClassRow, ...]]) -> Assignment:
    return msgspec.structs.replace(row, measured=tables(release_of_path(row.release.path)))


def _bare(document: Rollout) -> list[Assignment]:
    return [msgspec.structs.replace(row, measured=()) for row in document.assignments]


def base_of(model: str, current: Record | None, signed: Rollout | None) -> tuple[Assignment | None, Policy | None]:
    """Return what a new rollout of `model` goes over, and back to: the release that the whole region should run."""
    if current is not None:
        if current.status == "complete" and is_for_all(current.assignment):
            return current.assignment, current.policy
        return current.previous, current.previous_policy
    if signed is not None:
        rows = [row for row in signed.assignments if row.model == model]
        if rows:
            return rows[-1], signed.policy
    return None, None


def is_for_all(assignment: Assignment) -> bool:
    """Return whether every device of the region ends up in it."""
    audience, last = assignment.audience, assignment.stages[-1]
    return not (audience.tags or audience.hardware or last.tags or last.hardware) and last.percent >= 100


def opened(assignment: Assignment, percent: float | None) -> Assignment:
    """Return `assignment` with so much of its open stage let in; None is all of it."""
    return msgspec.structs.replace(assignment, opened_percent=percent)


def told(assignment: Assignment, measured: tuple[ClassRow, ...]) -> Assignment:
    """Return `assignment` with this class table."""
    return msgspec.structs.replace(assignment, measured=measured)


def moment(now: float) -> datetime:
    """Return seconds since 1970 as documents tell them."""
    return datetime.fromtimestamp(now, UTC)
