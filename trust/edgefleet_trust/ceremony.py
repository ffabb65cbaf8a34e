"""`edgefleet trust init`: the first keys, and a repository in which nothing is released yet."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, TargetFile

from edgefleet_protocol.names import check_label
from edgefleet_protocol.trust import COMMAND_KEYS_PATH, KEYS_ROLE, RELEASES_ROLE, rollouts_role

from . import unfinished
from .commit import online_pair, place
from .current import CHUNKS, METADATA, TARGETS, digest
from .desk import ANCHOR
from .device_view import device_view
from .errors import BreaksRule
from .files import Disk, check_empty, make_folder
from .first_hands import FirstHands
from .keyfile import ED25519, P256, KeyWriter, read_key
from .motion import Motion
from .online import OnlineKeys
from .passphrase import Passphrase
from .roles import (
    COMMANDS_KEY,
    FLEET_FIELD,
    ONLINE_ROLES,
    PublicKeys,
    new_role,
    new_root,
    new_targets,
    sign,
    to_bytes,
)
from .rotate import key_list_of


def init(
    repository: Path,
    keys: Path,
    fleet: str,
    regions: Sequence[str],
    offline: Passphrase,
    online: Passphrase,
    now: datetime,
    *,
    alone: bool,
    disk: Disk | None = None,
) -> None:
    """Make the keys in `keys/offline` and `keys/online`, and the repository. Both folders must be empty or new.

    What an interrupted call left is made anew. Raises BreaksRule unless `alone` is said: one person holds every offline
    key, so one stolen laptop is enough. Several holders make a ceremony instead, by `prepare`.
    """
    check_init(repository, keys, fleet, regions, alone=alone)
    disk = disk or Disk()
    if unfinished.only_the_marks_are_left(repository, keys):
        unfinished.end(repository, keys, disk)
        return
    unfinished.begin(repository, keys, disk)
    for name in (METADATA, TARGETS, CHUNKS):
        make_folder(repository / name)
    for name in ("offline", "online"):
        make_folder(keys / name, 0o700)

    writer = KeyWriter(keys / "offline", offline, disk=disk)
    # P-256 for releases, since that key signs the model for other people's tools too.
    held = {
        name: writer.new(name, P256 if name == RELEASES_ROLE else ED25519)
        for name in ("root", RELEASES_ROLE, KEYS_ROLE)
    }
    served = make_online_keys(keys, regions, online, disk)

    metadata, targets = _first_state(held, served, regions, now)
    disk.put(keys / "offline" / ANCHOR, metadata["1.root.json"])
    device_view(metadata, {COMMAND_KEYS_PATH: next(iter(targets))})
    disk.put(repository / "fleet.json", json.dumps({"fleet": fleet, "regions": list(regions)}, indent=1).encode())
    place(repository, targets, {}, metadata, disk)
    unfinished.end(repository, keys, disk)


def prepare(
    keys: Path,
    fleet: str,
    regions: Sequence[str],
    hands: FirstHands,
    online: Passphrase,
    now: datetime,
    *,
    disk: Disk | None = None,
) -> Motion:
    """Return the first state for several holders, to be signed by them, and make the server's keys in `keys/online`.

    Online keys that an earlier call left are used again. Raises BreaksRule where holders or thresholds cannot be.
    """
    check_names(fleet, regions)
    hands.check()
    disk = disk or Disk()
    served = make_online_keys(keys, regions, online, disk)
    public = PublicKeys(
        root=hands.root,
        releases=hands.releases,
        keys=hands.root,
        snapshot=served["snapshot"].public_key,
        timestamp=served["timestamp"].public_key,
        rollouts={region: served[rollouts_role(region)].public_key for region in regions},
        root_threshold=hands.root_threshold,
        releases_threshold=hands.releases_threshold,
    )
    key_list = key_list_of([served[COMMANDS_KEY].public_key])
    key_role = new_role(KEYS_ROLE, now)
    key_role.signed.targets[COMMAND_KEYS_PATH] = TargetFile.from_data(COMMAND_KEYS_PATH, key_list, ["sha256"])
    root = new_root(public, now)
    root.signed.unrecognized_fields[FLEET_FIELD] = fleet
    first: dict[str, Metadata[Any]] = {
        "root": root,
        "targets": new_targets(public, now),
        RELEASES_ROLE: new_role(RELEASES_ROLE, now),
        KEYS_ROLE: key_role,
    }
    return Motion(
        roots=(),
        base={},
        next={role: to_bytes(metadata).decode() for role, metadata in first.items()},
        key_list=key_list.decode(),
        fleet=fleet,
        regions=tuple(regions),
    )


def make_online_keys(keys: Path, regions: Sequence[str], secret: Passphrase, disk: Disk) -> dict[str, Signer]:
    """Return the signers of the server's keys by name, after making those that are not in `keys/online` yet."""
    place_ = keys / "online"
    place_.mkdir(mode=0o700, parents=True, exist_ok=True)
    writer = KeyWriter(place_, secret, disk=disk)
    names = (*ONLINE_ROLES, COMMANDS_KEY, *(rollouts_role(region) for region in regions))
    return {
        name: read_key(place_ / f"{name}.json", secret) if (place_ / f"{name}.json").exists() else writer.new(name)
        for name in names
    }


def check_init(repository: Path, keys: Path, fleet: str, regions: Sequence[str], *, alone: bool) -> None:
    """Raise what `init` would for these names and folders. Asked before anybody thinks of a passphrase."""
    check_alone(alone)
    check_names(fleet, regions)
    if not (unfinished.left_by_init(repository, keys) or unfinished.only_the_marks_are_left(repository, keys)):
        for folder in (repository, keys):
            check_empty(folder)


def check_names(fleet: str, regions: Sequence[str]) -> None:
    """Raise BreaksRule or BadName for a fleet and regions that cannot be called so."""
    check_label("fleet", fleet)
    if not regions or len(set(regions)) != len(regions):
        raise BreaksRule(f"name each region once, and at least one; given: {', '.join(regions) or 'none'}")
    for region in regions:
        check_label("region", region)


def check_alone(alone: bool) -> None:
    """Raise BreaksRule unless the one holder has said to be alone."""
    if not alone:
        raise BreaksRule(
            "who holds the offline keys? For several people, each makes a key with `edgefleet trust key new NAME`, and "
            "their public files are named here with --holder. With one holder, whoever has that person's keys and "
            "passphrase can release anything; to accept that, for a trial or a one-person fleet, add --yes-i-am-alone"
        )


def _first_state(
    held: Mapping[str, Signer], served: Mapping[str, Signer], regions: Sequence[str], now: datetime
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the first metadata by published name, and the one first target by SHA-256."""
    public = PublicKeys(
        root=(held["root"].public_key,),
        releases=(held[RELEASES_ROLE].public_key,),
        keys=(held[KEYS_ROLE].public_key,),
        snapshot=served["snapshot"].public_key,
        timestamp=served["timestamp"].public_key,
        rollouts={region: served[rollouts_role(region)].public_key for region in regions},
    )
    key_list = key_list_of([served[COMMANDS_KEY].public_key])
    target = TargetFile.from_data(COMMAND_KEYS_PATH, key_list, ["sha256"])
    key_role = new_role(KEYS_ROLE, now)
    key_role.signed.targets[COMMAND_KEYS_PATH] = target
    roles: dict[str, bytes] = {
        "targets": sign(new_targets(public, now), [held["root"]]),
        RELEASES_ROLE: sign(new_role(RELEASES_ROLE, now), [held[RELEASES_ROLE]]),
        KEYS_ROLE: sign(key_role, [held[KEYS_ROLE]]),
    }
    for region in regions:
        role = rollouts_role(region)
        roles[role] = sign(new_role(role, now), [served[role]])
    root = new_root(public, now)
    return {
        "1.root.json": sign(root, [held["root"]]),
        **{f"1.{role}.json": data for role, data in roles.items()},
        **online_pair(roles, (1, 1), OnlineKeys(served), now, root.signed),
    }, {digest(target): key_list}
