"""What a rollout would do, before it is begun: the words of the devices' own `explain`. Pure.

Devices that are alike in all that matters are asked about once, so that a hundred thousand of them take seconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edgefleet_protocol.audience import stable_number, stage_of, why_outside
from edgefleet_protocol.choose import Choice
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.interface_change import differences
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.messages import Failure, Measured
from edgefleet_protocol.rollout import Assignment, Policy

from .apart import Holding, held_words, model_held_back
from .emptiness import Firsts
from .evidence import joined
from .plan_digest import Parts, of_devices, short
from .plan_view import plan_view
from .predict import Predictor
from .words import devices_in_words

LISTED = 1000
"""Devices that a plan names one by one; of the others it gives the numbers."""
EXAMPLES = 3
NOTHING = Parts("", "", "", "", ())
_NO_FIGURES = str.maketrans("", "", "0123456789.")


@dataclass(frozen=True, slots=True)
class Known:
    """What matters of one device."""

    id: str
    tags: tuple[str, ...]
    hardware: Hardware | None
    hardware_key: object
    """Equal where the hardware is, and quick to compare."""
    measured: tuple[Measured, ...] = ()
    failures: tuple[Failure, ...] = ()
    running: tuple[str, str] | None = None
    """Digest of the release of the same model that it runs, and the variant."""
    quarantined: bool = False
    frozen: str = ""
    own: Holding | None = None
    """What it says of itself: that its owner or its experience holds the model back."""
    joined_s: float | None = None
    online: bool = False


@dataclass(frozen=True)
class DevicePlan:
    """What one device would do, or why it would not."""

    device: str
    stage: int
    """The first stage that admits it, from 0."""
    hardware: Hardware
    choice: Choice


@dataclass(frozen=True)
class LeftOut:
    """A device that would not run the release, and why."""

    device: str
    why: str


@dataclass
class Group:
    """Devices of one class that would take the same variant over the same one."""

    hardware: Hardware
    """Of the first of them."""
    choice: Choice
    """Its table; figures that a device measured itself differ from one to the other."""
    stages: list[int]
    """How many come in each stage."""
    move_bytes: int
    """On the wire to each of them: chunks that it does not hold already."""
    examples: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(self.stages)


@dataclass(frozen=True)
class RegionPlan:
    """One region: who takes what, who is left out, and what to say to it."""

    region: str
    release: str
    stages: tuple[float, ...]
    devices: tuple[DevicePlan, ...]
    """The first LISTED of those that would run it, by name."""
    left_out: tuple[LeftOut, ...]
    """The first LISTED."""
    wire_bytes: int
    """Bytes of all chunks that the region's devices would need, each once: what the broker must keep."""
    refused: str | None
    """Why the rollout is refused unless it is forced, or None."""
    interface_changes: tuple[str, ...] = ()
    """What applications would stumble over, against what the region runs or was going to run."""
    accepts_changes: bool = False
    matched: int = 0
    left_out_count: int = 0
    groups: tuple[Group, ...] = ()
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """How many devices of each class come in each stage."""
    no_fit: tuple[tuple[str, int, str], ...] = ()
    """Classes of which devices have no fitting variant: how many, and why."""
    numbers: tuple[tuple[int, str], ...] = ()
    """(stage, device) of the first devices of each stage, LISTED at most: those whose requests say how long a verdict takes."""
    parts: Parts = NOTHING
    """What it comes to; see `rollout start --plan`."""
    empty: tuple[int, ...] = ()
    """Stages, from 0, that are for none of those that would run it."""
    shares: Mapping[int, float] = field(default_factory=dict)
    """Of these, by stage, the percent with which a share would be for its first device."""
    notes: tuple[str, ...] = ()
    """What else to know before it is begun, in words."""
    verdicts: tuple[str, ...] = ()
    """For each stage, when its gate can be expected to say something of the model, in words."""

    @property
    def digest(self) -> str:
        """What it comes to, in a line."""
        return str(self.parts)

    @property
    def breaks(self) -> str | None:
        """Why it is refused also when it is forced, or None: devices would refuse the release themselves."""
        if not self.interface_changes or self.accepts_changes:
            return None
        return f"{self.release} changes the interface in {self.region}: {'; '.join(self.interface_changes)}"

    @property
    def move_bytes(self) -> int:
        """Bytes that all devices together would receive."""
        return sum(row.move_bytes * row.count for row in self.groups)

    @property
    def unproven(self) -> tuple[str, ...]:
        """Classes that a stage before the last has no device of, in words."""
        found = []
        for name, counts in sorted(self.classes.items()):
            first = next((place for place, count in enumerate(counts) if count), None)
            if first:
                found.append(
                    f"{name}: none of its {devices_in_words(sum(counts))} comes before stage {first + 1}, so until then the "
                    "release is not proven on this class"
                )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain objects, with the rendered text of each device's table."""
        return plan_view(self)


def plan_of(
    region: str,
    release: Release,
    assignment: Assignment,
    policy: Policy,
    members: Iterable[Known],
    base: Assignment | None,
    before: Iterable[Release] = (),
    running: Mapping[str, Release] | None = None,
    said: Sequence[str] | None = None,
    cut_short: str = "",
) -> RegionPlan:
    """Return what a rollout of `assignment` would do in `region`.

    members: the devices of the region, by name.
    base: what the whole region should run now, if anything.
    before: releases that devices of the region may run when it begins.
    running: releases by digest, of those that devices run and whose chunks they hold.
    said: the stages in the words of the order; they go into the digest in place of the shares that counts come to.
    cut_short: the rollout whose place it takes, in words.
    """
    sorter = _Sorter(release, assignment, policy, running or {})
    count = 0
    for member in members:
        count += 1
        sorter.take(member)
    matched = sum(group.count for group in sorter.groups.values())
    refused = None
    if not count:
        refused = f"no device is known in {region}"
    elif not matched:
        refused = f"{devices_in_words(count)} in {region}, and none would run it"
    elif base is not None and base.release.sha256 == assignment.release.sha256:
        refused = f"{region} runs {release.name} already"
    groups = sorted(sorter.groups.values(), key=lambda row: (row.hardware.hardware_class, -row.count, row.examples))
    return RegionPlan(
        region=region,
        release=release.name,
        stages=tuple(stage.percent for stage in assignment.stages),
        devices=tuple(sorter.devices),
        left_out=tuple(sorter.left_out),
        wire_bytes=sum(sorter.chunks.values()),
        refused=refused,
        interface_changes=_changes(before, release),
        accepts_changes=assignment.accept_interface_change,
        matched=matched,
        left_out_count=count - matched,
        groups=tuple(groups),
        classes={name: tuple(rows) for name, rows in sorted(sorter.classes.items())},
        no_fit=tuple((name, many, why) for (name, why), many in sorted(sorter.no_fit.items())),
        numbers=tuple(sorter.firsts),
        empty=sorter.nobody.empty,
        shares=sorter.nobody.shares,
        parts=_parts(region, release, assignment, policy, base, cut_short, groups, sorter.names, said),
    )


class _Sorter:
    """Takes devices one by one, and keeps what they add up to."""

    def __init__(
        self, release: Release, assignment: Assignment, policy: Policy, running: Mapping[str, Release]
    ) -> None:
        self._release, self._assignment, self._running = release, assignment, running
        self._whole = msgspec.structs.replace(assignment, stage=len(assignment.stages) - 1)
        self._predictor = Predictor(release, assignment.release.sha256, policy, assignment.measured)
        self._like = Alike(release)
        self._moves: dict[tuple[str, tuple[str, str] | None], int] = {}
        self.groups: dict[object, Group] = {}
        self.classes: dict[str, list[int]] = {}
        self.no_fit: Counter[tuple[str, str]] = Counter()
        self._no_fit_why: dict[tuple[str, tuple[str, ...]], str] = {}
        self.devices: list[DevicePlan] = []
        self.left_out: list[LeftOut] = []
        self.chunks: dict[str, int] = {}
        self.firsts: list[tuple[int, str]] = []
        self._of_stage: Counter[int] = Counter()
        self.names: list[list[str]] = [[] for _ in assignment.stages]
        """Of those that would run it, by stage."""
        self.nobody = Firsts(assignment.stages)

    def take(self, member: Known) -> None:
        """Sort one device in."""
        why = self._sort(member)
        if why is not None and len(self.left_out) < LISTED:
            self.left_out.append(LeftOut(member.id, why))

    def _sort(self, member: Known) -> str | None:
        hardware = member.hardware
        if hardware is None:
            return "it has not said what it is yet"
        name = hardware.hardware_class
        if reason := why_outside(member.tags, name, self._whole, joined(member.joined_s)):
            return reason
        number = stable_number(member.id, self._assignment)
        stage = stage_of(member.id, member.tags, name, self._assignment, number)
        if stage is None:
            last = self._assignment.stages[-1]
            of = f" of {', '.join((*last.hardware, *last.tags))}" if last.hardware or last.tags else ""
            return f"no stage is for it: the last is for {last.percent:g} %{of}, and it is at {number:.1f}"
        held = held_words(member.quarantined, member.frozen, member.tags)
        if held := held or model_held_back(member.own, self._assignment.release.sha256):
            return f"{held}, so it is counted apart"
        choice = self._predictor.of(
            hardware, member.measured, member.failures, self._like.key(member.hardware_key, hardware)
        )
        if choice.taken is None:
            # One wish a class: reasons that differ in a figure only are the same wish.
            kind = name, tuple(row.reason.translate(_NO_FIGURES) for row in choice.table)
            self.no_fit[name, self._no_fit_why.setdefault(kind, choice.why)] += 1
            return f"none of its variants fits: {choice.why}"
        self.nobody.see(member.id, member.tags, name, number)
        self._add(member, hardware, choice, stage)
        return None

    def _add(self, member: Known, hardware: Hardware, choice: Choice, stage: int) -> None:
        assert choice.taken is not None
        key = (hardware.hardware_class, choice.taken.name, member.running)
        group = self.groups.get(key)
        if group is None:
            moved = self._moved(choice, member.running)
            group = self.groups[key] = Group(hardware, choice, [0] * len(self._assignment.stages), moved)
        group.stages[stage] += 1
        self.names[stage].append(member.id)
        if len(group.examples) < EXAMPLES:
            group.examples.append(member.id)
        self.classes.setdefault(hardware.hardware_class, [0] * len(self._assignment.stages))[stage] += 1
        if len(self.devices) < LISTED:
            self.devices.append(DevicePlan(member.id, stage, hardware, choice))
        if self._of_stage[stage] < LISTED // len(self._assignment.stages):
            self._of_stage[stage] += 1
            self.firsts.append((stage, member.id))

    def _moved(self, choice: Choice, running: tuple[str, str] | None) -> int:
        assert choice.taken is not None
        wanted = {
            chunk.sha256: chunk.wire_bytes for entry in self._release.files_for(choice.taken) for chunk in entry.chunks
        }
        self.chunks |= wanted
        old = self._running.get(running[0]) if running else None
        variant = old.variant(running[1]) if old is not None and running else None
        if old is not None and variant is not None:
            for entry in old.files_for(variant):
                for chunk in entry.chunks:
                    wanted.pop(chunk.sha256, None)
        return sum(wanted.values())


class Alike:
    """Which hardware is alike to `choose`: what it only compares with a bound is left out where the bound is far."""

    def __init__(self, release: Release) -> None:
        self._memory = max((row.requires.memory_bytes for row in release.variants), default=0)
        self._storage = max((row.bytes for row in release.variants), default=0)
        self._keys: dict[object, object] = {}

    def key(self, raw: object, hardware: Hardware) -> object:
        """Return what stands for `hardware`. raw: quick to compare, and told apart at least what it tells apart."""
        found = self._keys.get(raw)
        if found is None:
            found = self._keys[raw] = self._key(hardware)
        return found

    def _key(self, hardware: Hardware) -> object:
        changes: dict[str, object] = {"board": "", "os": "", "python": "", "power_mode": None, "cores": 0}
        if hardware.storage_bytes >= 4 * self._storage:
            changes["storage_bytes"] = 0
        if hardware.memory_bytes * 0.3 >= self._memory:
            changes["memory_bytes"] = 0
        return msgspec.structs.replace(hardware, **changes)


def _changes(before: Iterable[Release], release: Release) -> tuple[str, ...]:
    found = [
        f"against {old.name}, {words}" for old in before for words in differences(old.interface, release.interface)
    ]
    return tuple(dict.fromkeys(found))


def _parts(
    region: str,
    release: Release,
    assignment: Assignment,
    policy: Policy,
    base: Assignment | None,
    cut_short: str,
    groups: Sequence[Group],
    names: Sequence[Sequence[str]],
    said: Sequence[str] | None,
) -> Parts:
    """Return what is planned: the release, for whom and how; over what; which variant each class takes; and the devices of each stage."""
    # The moment of the start is not known before it; what was measured shows in what each class takes.
    whole = msgspec.to_builtins(
        msgspec.structs.replace(assignment, joined_before=None, opened_percent=None, measured=())
    )
    if said is not None:
        for row, words in zip(whole["stages"], said, strict=True):
            row["percent"] = words
    order = [region, release.name, whole, assignment.joined_before is not None, msgspec.to_builtins(policy)]
    takes = sorted({(row.hardware.hardware_class, row.choice.taken.name if row.choice.taken else "") for row in groups})
    return Parts(
        order=_short(order),
        over=_short([base.release.sha256 if base else "", cut_short]),
        takes=_short(takes),
        devices=of_devices(names),
        counts=tuple(len(row) for row in names),
    )


def _short(facts: object) -> str:
    return short(msgspec.json.encode(facts, order="deterministic"))
