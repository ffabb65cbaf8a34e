"""Devices that are held back by hand, and so count neither for nor against a release. Pure."""

from collections.abc import Collection
from typing import Protocol

from edgefleet_protocol.messages import DeviceState

from ..store.devices import Device

FROZEN_TAG = "frozen"
"""A device with this tag is held back by hand, too."""


def held_back(device: Device) -> str | None:
    """Return who or what holds the whole device back, in words; None when nobody does."""
    return held_words(device.alarm is not None, device.frozen, device.tags)


def held_words(quarantined: bool, frozen: str, tags: Collection[str]) -> str | None:
    """As `held_back`, of what is known of a device. frozen: by whom, and why."""
    if quarantined:
        return "it is in quarantine: two copies of it speak in turn"
    if frozen:
        return f"frozen by {frozen}"
    return f"it is tagged {FROZEN_TAG}" if FROZEN_TAG in tags else None


class Holding(Protocol):
    """What a device says of one model, as far as something on it holds the model back."""

    @property
    def held(self) -> str | None:
        """By its owner."""

    @property
    def pinned(self) -> str | None:
        """To another release."""

    @property
    def quarantined(self) -> str | None:
        """After several releases that hurt requests."""

    @property
    def wanted_sha256(self) -> str | None:
        """The release that it was last told to run."""


def model_held_back(state: Holding | None, sha256: str) -> str | None:
    """Return in the device's own words why it does not take this release for now: held, pinned to another, or in quarantine."""
    if state is None:
        return None
    if state.held:
        return state.held
    if state.pinned and state.wanted_sha256 != sha256:
        return state.pinned
    return state.quarantined


def became_free(before: DeviceState | None, after: DeviceState) -> bool:
    """Return whether a device that was held back over some model is so no longer: no deadline runs from before."""
    if before is None:
        return False
    held = {row.model for row in before.models if row.held or row.pinned or row.quarantined}
    return any(row.model in held and not (row.held or row.pinned or row.quarantined) for row in after.models)
