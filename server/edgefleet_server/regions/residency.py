"""Which measurements of a region's devices a server may keep where it stands. Pure: whoever stores a window asks here first."""

from edgefleet_protocol.leaving import both, leaving
from edgefleet_protocol.telemetry import Window

from .settings import RegionSettings


def kept_groups(settings: RegionSettings, place: str) -> tuple[str, ...]:
    """Return the groups of measurements that may be kept at `place`; none means all.

    place: what the server calls where it keeps its data; empty where nobody said, which is no place that a region names.
    An agent that is older than `telemetry_fields` sends everything, so what must not leave a device is taken out here too.
    """
    out, kept = settings.policy.telemetry_fields, settings.telemetry
    if not kept.kept_at or place in kept.kept_at:
        return out
    return both(out, kept.elsewhere)


def kept_window(window: Window, settings: RegionSettings | None, place: str) -> Window:
    """Return `window` with only what may be kept at `place`. settings: of the device's region; None has no rule."""
    return window if settings is None else leaving(window, kept_groups(settings, place))
