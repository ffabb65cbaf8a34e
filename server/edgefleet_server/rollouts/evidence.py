"""What each device of a region is to a rollout now: proven, failed, under way, or counted apart. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from edgefleet_protocol.audience import stable_number, why_not
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.messages import DeviceState, ModelState
from edgefleet_protocol.telemetry import held_back_s

from ..ingest.lineage import Alarm
from ..store.devices import Device
from ..store.rollouts import Record
from .apart import held_back, model_held_back
from .predict import Predictor
from .words import span

Standing = Literal["proven", "failed", "under way", "away", "frozen", "offline", "left out", "outside"]
"""proven: runs the release and has proven it; failed: the release failed there, or its deadline passed;
under way: on its way there; away: silent for a short while, so still waited for;
frozen: held back by hand; offline: silent for long, and never saw the release; left out: none of its variants fits;
outside: not in the audience, or not in a stage that is open. The last four are counted apart and hold nothing up."""

PASSING: tuple[Standing, ...] = ("under way", "away", "offline")
"""Time alone makes something else of these."""

LATE_WINDOWS = 2
"""A connected device sends its windows of telemetry in good time. One that is so many windows late is gone, whatever its
presence says: a broker that dies with a device never sends the device's will."""


@dataclass(frozen=True)
class Evidence:
    """One device, what it is to the rollout, and why in words."""

    device: str
    standing: Standing
    why: str
    serves: bool = False
    """Whether the release serves there, proven or on probation."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a device is to a rollout as long as neither it nor the rollout changes, whatever the time is."""

    state: DeviceState | None
    tags: tuple[str, ...]
    alarm: Alarm | None
    frozen: str
    evidence: Evidence


def weigh(
    record: Record,
    release: Release,
    fleet: Iterable[Device],
    now: float,
    offline_after_s: float,
    predictor: Predictor | None = None,
    known: dict[str, Settled] | None = None,
) -> tuple[Evidence, ...]:
    """Return what each device of the record's region is to it.

    predictor: one for this release and policy that is kept from look to look, so that what does not change is not asked again.
    known: likewise what is settled, by device; to be emptied when the record's assignment, policy or times change.
    """
    sha256 = record.assignment.release.sha256
    predictor = predictor or Predictor(release, sha256, record.policy)
    known = {} if known is None else known
    found = []
    for device in fleet:
        if device.region != record.region:
            continue
        before = known.get(device.id)
        if (
            before is not None
            and before.state is device.state
            and before.tags == device.tags
            and before.alarm is device.alarm
            and before.frozen == device.frozen
        ):
            found.append(before.evidence)
            continue
        standing, why = _standing(record, predictor, device, now, offline_after_s)
        evidence = Evidence(device.id, standing, why, _serves(device, record.model, sha256))
        if standing not in PASSING:
            known[device.id] = Settled(device.state, device.tags, device.alarm, device.frozen, evidence)
        found.append(evidence)
    return tuple(found)


def joined(joined_s: float | None) -> datetime | None:
    """Return since when a device has belonged to its region, as it was told."""
    return None if joined_s is None else datetime.fromtimestamp(joined_s, UTC)


def class_of(hardware: Hardware | None) -> str:
    """Return the class of a device's hardware; empty while it has not said what it is."""
    return "" if hardware is None else hardware.hardware_class


def _serves(device: Device, model: str, sha256: str) -> bool:
    state = device.model(model)
    return bool(state and state.running and state.running.release_sha256 == sha256)


def _standing(
    record: Record, predictor: Predictor, device: Device, now: float, offline_after_s: float
) -> tuple[Standing, str]:
    sha256 = record.assignment.release.sha256
    if reason := why_not(device.id, device.tags, class_of(device.hardware), record.assignment, joined(device.joined_s)):
        return "outside", reason
    if held := held_back(device):
        return "frozen", held
    state = device.model(record.model)
    if state and state.running and state.running.release_sha256 == sha256 and state.running.proven:
        before = ", as before this rollout" if _ran_before(record) else ""
        return "proven", f"runs {state.running.variant}{before}"
    # A failure of a variant counts although the device may find another one that holds: a release is meant to be good.
    # That none is left to choose follows from those failures, or from what the device is: then it is left out below.
    if state and (
        failures := [row for row in state.failures if row.release_sha256 == sha256 and row.stage != "choose"]
    ):
        last = failures[-1]
        return "failed", f"{last.variant} failed in {last.stage}: {last.reason}"
    if held := model_held_back(state, sha256):
        return "frozen", held
    choice = predictor(device)
    if choice is not None and choice.taken is None:
        return "left out", f"none of its variants fits: {choice.why}"
    silent_s = None if device.last_seen_s is None else now - device.last_seen_s
    saw_it = state is not None and state.wanted_sha256 == sha256
    interval_s = record.policy.telemetry_interval_s
    silent_too_long_s = max(offline_after_s, held_back_s(interval_s) + LATE_WINDOWS * interval_s)
    gone = not device.online or (silent_s is not None and silent_s > silent_too_long_s)
    if gone and not saw_it:
        if silent_s is None or silent_s > offline_after_s:
            return "offline", "offline" if silent_s is None else f"offline for {span(silent_s)}"
        return "away", f"silent for {span(silent_s)}"
    # From when the stage opened, or the device came to be, came here or was thawed: a late joiner has its own time.
    admitted_s = (
        record.admitted_at(stable_number(device.id, record.assignment)) if record.waves else record.stage_opened_s
    )
    waited_s = now - max(admitted_s, device.first_seen_s, device.counts_from_s)
    if waited_s > record.assignment.deadline_s:
        doing = _doing(device, state)
        return "failed", f"not proven {span(waited_s)} after it was admitted; {doing}"
    return "under way", _doing(device, state)


def _ran_before(record: Record) -> bool:
    """Whether the region ran this very release already: its devices prove it once, and nothing is proven anew."""
    return record.previous is not None and record.previous.release.sha256 == record.assignment.release.sha256


def _doing(device: Device, state: ModelState | None) -> str:
    """In the device's own words: what it does about the model, and why it cannot obey, if it said so."""
    words = []
    if state is not None:
        words.append(f"{state.phase}: {state.why}" if state.why else state.phase)
    if device.state is not None and device.state.trust_problem:
        words.append(f"trust: {device.state.trust_problem}")
    return "; ".join(words) or "has not answered yet"
