"""What a rollout would do, before it is begun: the words of the devices' own `explain`. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from edgefleet_protocol.audience import stable_number, why_not
from edgefleet_protocol.choose import Choice
from edgefleet_protocol.explain import choice_to_dict, render
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.interface_change import differences
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Assignment, Policy

from ..store.devices import Device
from .apart import held_back, model_held_back
from .predict import predict


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


@dataclass(frozen=True)
class RegionPlan:
    """One region: who takes what, who is left out, and what to say to it."""

    region: str
    release: str
    stages: tuple[float, ...]
    devices: tuple[DevicePlan, ...]
    left_out: tuple[LeftOut, ...]
    wire_bytes: int
    """Bytes of all chunks that the region's devices would need, each once: what the broker must keep."""
    refused: str | None
    """Why the rollout is refused unless it is forced, or None."""
    interface_changes: tuple[str, ...] = ()
    """What applications would stumble over, against what the region runs or was going to run."""
    accepts_changes: bool = False

    @property
    def breaks(self) -> str | None:
        """Why it is refused also when it is forced, or None: devices would refuse the release themselves."""
        if not self.interface_changes or self.accepts_changes:
            return None
        return f"{self.release} changes the interface in {self.region}: {'; '.join(self.interface_changes)}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain objects, with the rendered text of each device's table."""
        return {
            "region": self.region,
            "release": self.release,
            "stages": list(self.stages),
            "matched": len(self.devices),
            "devices": [
                {
                    "device": row.device,
                    "stage": row.stage,
                    "hardware_class": row.hardware.hardware_class,
                    "choice": choice_to_dict(row.choice),
                    "text": render(row.choice, self.release, row.hardware),
                }
                for row in self.devices
            ],
            "left_out": [msgspec.to_builtins(row) for row in self.left_out],
            "wire_bytes": self.wire_bytes,
            "refused": self.refused,
            "interface_changes": list(self.interface_changes),
            "breaks": self.breaks,
        }


def plan(
    region: str,
    release: Release,
    assignment: Assignment,
    policy: Policy,
    fleet: Iterable[Device],
    base: Assignment | None,
    before: Iterable[Release] = (),
) -> RegionPlan:
    """Return what a rollout of `assignment` would do in `region`.

    base: what the whole region should run now, if anything.
    before: releases that devices of the region may run when it begins.
    """
    whole = msgspec.structs.replace(assignment, stage=len(assignment.stages) - 1)
    members = [device for device in fleet if device.region == region]
    planned: list[DevicePlan] = []
    left_out: list[LeftOut] = []
    chunks: dict[str, int] = {}
    for device in members:
        choice = predict(device, release, assignment.release.sha256, policy)
        if device.hardware is None or choice is None:
            left_out.append(LeftOut(device.id, "it has not said what it is yet"))
        elif reason := why_not(device.id, device.tags, device.hardware.hardware_class, whole):
            left_out.append(LeftOut(device.id, reason))
        elif held := held_back(device) or model_held_back(device.model(release.model), assignment.release.sha256):
            left_out.append(LeftOut(device.id, f"{held}, so it is counted apart"))
        elif choice.taken is None:
            left_out.append(LeftOut(device.id, f"none of its variants fits: {choice.why}"))
        else:
            planned.append(DevicePlan(device.id, _first_stage(device.id, assignment), device.hardware, choice))
            for entry in release.files_for(choice.taken):
                chunks |= {chunk.sha256: chunk.wire_bytes for chunk in entry.chunks}
    refused = None
    if not members:
        refused = f"no device is known in {region}"
    elif not planned:
        refused = f"{devices_in_words(len(members))} in {region}, and none would run it"
    elif base is not None and base.release.sha256 == assignment.release.sha256:
        refused = f"{region} runs {release.name} already"
    return RegionPlan(
        region=region,
        release=release.name,
        stages=tuple(stage.percent for stage in assignment.stages),
        devices=tuple(planned),
        left_out=tuple(left_out),
        wire_bytes=sum(chunks.values()),
        refused=refused,
        interface_changes=_changes(before, release),
        accepts_changes=assignment.accept_interface_change,
    )


def devices_in_words(count: int) -> str:
    """Return how many devices, as people say it."""
    return f"{count} device{'' if count == 1 else 's'}"


def _changes(before: Iterable[Release], release: Release) -> tuple[str, ...]:
    found = [
        f"against {old.name}, {words}" for old in before for words in differences(old.interface, release.interface)
    ]
    return tuple(dict.fromkeys(found))


def _first_stage(device: str, assignment: Assignment) -> int:
    number = stable_number(device, assignment)
    return next(place for place, stage in enumerate(assignment.stages) if number < stage.percent)
