"""What a device will choose, by the very function by which it does. Pure."""

from collections.abc import Sequence

from edgefleet_protocol.choose import Choice, choose
from edgefleet_protocol.class_table import with_class_table
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.messages import Failure, Measured
from edgefleet_protocol.rollout import ClassRow, Policy

from ..store.devices import Device

MOST_KNOWN = 20_000
"""Answers that are remembered: devices that measured are each a case of their own."""


class Predictor:
    """What devices will choose of one release under one policy; like devices are asked once."""

    def __init__(
        self, release: Release, release_sha256: str, policy: Policy, measured: Sequence[ClassRow] = ()
    ) -> None:
        """measured: the class table that comes with the release, as devices are told it."""
        self.release, self.release_sha256, self.policy = release, release_sha256, policy
        self.measured = tuple(measured)
        self._told = with_class_table(release, self.measured)
        self._known: dict[object, Choice] = {}

    def __call__(self, device: Device) -> Choice | None:
        """Return what `device` will choose, or None when it has not said what it is."""
        if device.hardware is None:
            return None
        state = device.model(self.release.model)
        return self.of(device.hardware, state.measured if state else (), state.failures if state else ())

    def of(
        self,
        hardware: Hardware,
        measured: Sequence[Measured] = (),
        failures: Sequence[Failure] = (),
        key: object = None,
    ) -> Choice:
        """Return what a device of this hardware chooses, by what it says that it measured and what failed there.

        key: stands for `hardware`, where the caller knows one that is quicker to compare.
        """
        seen = tuple((row.variant, row.latency_p50_s) for row in measured if row.release == self.release.name)
        # The device's own words, stage and reason; a failure to choose is no variant's.
        bad = tuple(
            (row.variant, f"{row.stage}: {row.reason}")
            for row in failures
            if row.release_sha256 == self.release_sha256 and row.stage != "choose"
        )
        whole = (hardware if key is None else key, seen, bad)
        found = self._known.get(whole)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = choose(self._told, hardware, self.policy, measured=dict(seen), failed=dict(bad))
            self._known[whole] = found
        return found
