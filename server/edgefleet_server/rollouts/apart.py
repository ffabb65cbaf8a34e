"""Devices that are held back by hand, and so count neither for nor against a release. Pure."""

from edgefleet_protocol.messages import ModelState

from ..store.devices import Device

FROZEN_TAG = "frozen"
"""A device with this tag is held back by hand, too."""


def held_back(device: Device) -> str | None:
    """Return who or what holds the whole device back, in words; None when nobody does."""
    if device.alarm is not None:
        return "it is in quarantine: two copies of it speak in turn"
    if device.frozen:
        return f"frozen by {device.frozen}"
    return f"it is tagged {FROZEN_TAG}" if FROZEN_TAG in device.tags else None


def model_held_back(state: ModelState | None, sha256: str) -> str | None:
    """Return in the device's own words why it does not take this release for now: held, pinned to another, or in quarantine."""
    if state is None:
        return None
    if state.held:
        return state.held
    if state.pinned and state.wanted_sha256 != sha256:
        return state.pinned
    return state.quarantined
