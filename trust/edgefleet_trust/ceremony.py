"""`edgefleet trust init`: the first keys, and a repository in which nothing is released yet."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import TargetFile

from edgefleet_protocol import codec
from edgefleet_protocol.names import check_label
from edgefleet_protocol.trust import COMMAND_KEYS_PATH, KEYS_ROLE, RELEASES_ROLE, KeyList, PublicKey, rollouts_role

from .commit import online_pair, place
from .current import CHUNKS, METADATA, TARGETS, digest
from .desk import ANCHOR
from .device_view import device_view
from .errors import BreaksRule
from .files import Disk, check_empty, make_folder
from .keyfile import KeyWriter
from .online import OnlineKeys
from .passphrase import Passphrase
from .roles import COMMANDS_KEY, PublicKeys, new_role, new_root, new_targets, sign

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

    Raises BreaksRule unless `alone` is said: one person holds every offline key, so one stolen laptop is enough.
    """
    check_init(repository, keys, fleet, regions, alone=alone)
    disk = disk or Disk()
    make_folder(repository)
    make_folder(keys, 0o700)
    for name in (METADATA, TARGETS, CHUNKS):
        make_folder(repository / name)
    for name in ("offline", "online"):
        make_folder(keys / name, 0o700)

    writer = KeyWriter(keys / "offline", offline, disk=disk)
    held = {name: writer.new(name) for name in ("root", RELEASES_ROLE, KEYS_ROLE)}
    writer = KeyWriter(keys / "online", online, disk=disk)
    names = ("snapshot", "timestamp", COMMANDS_KEY, *(rollouts_role(region) for region in regions))
    served = {name: writer.new(name) for name in names}

    metadata, targets = _first_state(held, served, regions, now)
    disk.put(keys / "offline" / ANCHOR, metadata["1.root.json"])
    device_view(metadata, {COMMAND_KEYS_PATH: next(iter(targets))})
    disk.put(repository / "fleet.json", json.dumps({"fleet": fleet, "regions": list(regions)}, indent=1).encode())
    place(repository, targets, {}, metadata, disk)


def check_init(repository: Path, keys: Path, fleet: str, regions: Sequence[str], *, alone: bool) -> None:
    """Raise what `init` would for these names and folders. Asked before anybody thinks of a passphrase."""
    check_alone(alone)
    check_label("fleet", fleet)
    if not regions or len(set(regions)) != len(regions):
        raise BreaksRule(f"name each region once, and at least one; given: {', '.join(regions) or 'none'}")
    for region in regions:
        check_label("region", region)
    for folder in (repository, keys):
        check_empty(folder)


def check_alone(alone: bool) -> None:
    """Raise BreaksRule unless the one holder has said to be alone."""
    if not alone:
        raise BreaksRule(
            "a repository with several holders cannot be made yet; it will come. With one holder, whoever has that "
            "person's keys and passphrase can release anything. To accept that, for a trial or a one-person fleet, "
            "add --yes-i-am-alone"
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
    key_list = codec.encode(KeyList(keys=(_public(served[COMMANDS_KEY]),)))
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


def _public(signer: Signer) -> PublicKey:
    key = signer.public_key
    return PublicKey(keyid=key.keyid, keytype=key.keytype, scheme=key.scheme, public=key.keyval["public"])
