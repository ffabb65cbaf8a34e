"""What a device will choose, by the very function by which it does. Pure."""

from edgefleet_protocol.choose import Choice, choose
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Policy

from ..store.devices import Device


def predict(device: Device, release: Release, release_sha256: str, policy: Policy) -> Choice | None:
    """Return what `device` will choose of `release` under `policy`, or None when it has not said what it is.

    What it measured, and what failed there, is known from its state and taken as the device takes it.
    """
    if device.hardware is None:
        return None
    state = device.model(release.model)
    measured: dict[str, float] = {}
    failed: dict[str, str] = {}
    if state is not None:
        measured = {row.variant: row.latency_p50_s for row in state.measured if row.release == release.name}
        # The device's own words, stage and reason; a failure to choose is no variant's.
        rows = [row for row in state.failures if row.release_sha256 == release_sha256 and row.stage != "choose"]
        failed = {row.variant: f"{row.stage}: {row.reason}" for row in rows}
    return choose(release, device.hardware, policy, measured=measured, failed=failed)
