"""What a rollout would do to devices that a test has in hand, as the server plans it for those in its database."""

from collections.abc import Iterable

from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Assignment, Policy
from edgefleet_server.rollouts.plan import Known, RegionPlan, plan_of
from edgefleet_server.store.devices import Device


def known_of(device: Device, model: str) -> Known:
    """Return what matters of a device."""
    state = device.model(model)
    running = state.running if state else None
    return Known(
        id=device.id,
        tags=device.tags,
        hardware=device.hardware,
        hardware_key=device.hardware,
        measured=state.measured if state else (),
        failures=state.failures if state else (),
        running=(running.release_sha256, running.variant) if running else None,
        quarantined=device.alarm is not None,
        frozen=device.frozen,
        own=state,
        joined_s=device.joined_s,
        online=device.online,
    )


def plan(
    region: str,
    release: Release,
    assignment: Assignment,
    policy: Policy,
    fleet: Iterable[Device],
    base: Assignment | None,
    before: Iterable[Release] = (),
) -> RegionPlan:
    """Return what a rollout of `assignment` would do in `region`; see `plan_of`."""
    members = (known_of(device, release.model) for device in fleet if device.region == region)
    return plan_of(region, release, assignment, policy, members, base, before)
