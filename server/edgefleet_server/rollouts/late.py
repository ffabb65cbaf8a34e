"""A release that is what a region runs, and fails on devices that come to it later. Pure."""

from collections.abc import Iterable

from ..store.devices import Device
from ..store.rollouts import Record
from .apart import held_back


def late_failures(record: Record, fleet: Iterable[Device]) -> tuple[tuple[str, str], ...]:
    """Return (device, what failed there) of those where the release of a complete rollout failed since it was complete.

    Those that failed before were counted by the gates. One that proved it with another variant runs what it should.
    """
    if record.status != "complete":
        return ()
    sha256 = record.assignment.release.sha256
    found = []
    for device in fleet:
        if device.region != record.region or held_back(device) is not None:
            continue
        state = device.model(record.model)
        if state is None or (state.running and state.running.release_sha256 == sha256 and state.running.proven):
            continue
        said_s = device.state_at_s or 0.0
        rows = [row for row in state.failures if row.release_sha256 == sha256 and row.stage != "choose"]
        if rows and said_s >= record.updated_s:
            found.append((device.id, f"{rows[-1].variant} failed in {rows[-1].stage}: {rows[-1].reason}"))
    return tuple(found)
