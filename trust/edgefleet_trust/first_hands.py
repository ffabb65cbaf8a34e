"""Who holds which offline role at the start, how many must sign, and the rules that keep that from being a trap."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key

from .errors import BreaksRule
from .holders import (
    check_distinct,
    check_threshold,
    holder,
    read_public,
    usual_release_threshold,
    usual_root_threshold,
)

FEW_DEVICES = 5
"""Up to here one signature may be enough without a word: a desk, a trial."""


@dataclass(frozen=True)
class FirstHands:
    """The holders of root (with targets and keys) and of releases."""

    root: tuple[Key, ...]
    releases: tuple[Key, ...]
    root_threshold: int
    releases_threshold: int

    def check(self) -> None:
        """Raise BreaksRule for a key that stands twice, a name that stands twice, or a threshold that cannot be met."""
        for role, keys, threshold in (
            ("root", self.root, self.root_threshold),
            ("releases", self.releases, self.releases_threshold),
        ):
            check_threshold(role, threshold, keys)
            check_distinct(role, keys)
            names = [holder(key) for key in keys]
            if len(set(names)) != len(names):
                raise BreaksRule(f"{role}: two holders have the same name among {', '.join(names)}")

    def check_fleet_size(self, devices: int, *, one_is_enough: bool) -> None:
        """Raise BreaksRule where one signature is enough for a fleet that matters, unless that was said."""
        weak = [
            role
            for role, threshold in (("root", self.root_threshold), ("releases", self.releases_threshold))
            if threshold == 1
        ]
        if weak and devices > FEW_DEVICES and not one_is_enough:
            raise BreaksRule(
                f"one signature would be enough for {' and '.join(weak)}, and the fleet has {devices} devices (more than "
                f"{FEW_DEVICES}): raise --root-threshold and --release-threshold, or say --one-signature-is-enough"
            )


def read_hands(
    holders: Sequence[Path], safes: Sequence[Path], root_threshold: int | None, release_threshold: int | None
) -> FirstHands:
    """Return the hands of these public files: holders sign root and releases, safes root alone."""
    people = tuple(read_public(path) for path in holders)
    if not people:
        raise BreaksRule("name at least one --holder: somebody must sign releases")
    root = (*people, *(read_public(path) for path in safes))
    return FirstHands(
        root=root,
        releases=people,
        root_threshold=root_threshold or usual_root_threshold(len(root)),
        releases_threshold=release_threshold or usual_release_threshold(len(people)),
    )
