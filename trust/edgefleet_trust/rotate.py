"""What holders can change, each as a motion to be signed: keys, holders, regions, expiry, and which releases are listed.

Every function reads the repository and writes nothing there; only `new_online_key` makes a file, in `KEYS/online/next`,
where it waits until the motion is published.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, TargetFile

from edgefleet_protocol import codec
from edgefleet_protocol.names import check_label
from edgefleet_protocol.trust import (
    COMMAND_KEYS_PATH,
    ISSUED_FIELD,
    KEYS_ROLE,
    RELEASES_ROLE,
    KeyList,
    PublicKey,
    release_path,
    rollout_path,
    rollouts_role,
)

from .errors import BreaksRule, NotThere
from .files import Disk
from .holders import check_distinct, check_threshold, holder
from .judge import command_keys
from .keyfile import KeyWriter, said_key
from .motion import OFFLINE, Draft, Motion
from .numbers import last_numbers
from .online import NEXT, online_folder
from .passphrase import Passphrase
from .repository import Repository
from .roles import COMMANDS_KEY, NUMBERS_FIELD, ONLINE_ROLES, life, stamp, whole_seconds
from .uris import import_uri


def new_online_key(
    keys: Path, role: str, secret: Passphrase, *, uri: str | None = None, fresh: bool = False, disk: Disk | None = None
) -> Key:
    """Return the public half of a key that waits in `KEYS/online/next` to become that of `role`.

    One that waits already is taken, unless `fresh` is asked for: an earlier rotation may not have been published.
    """
    disk = disk or Disk()
    place = online_folder(keys) / NEXT
    place.mkdir(mode=0o700, exist_ok=True)
    path = place / f"{role}.json"
    if path.exists():
        if not fresh and uri is None:
            return said_key(path)
        disk.remove(path)
        disk.sync(place)
    writer = KeyWriter(place, secret, disk=disk)
    if uri is None:
        return writer.new(role).public_key
    kept, public = import_uri(uri)
    writer.refer(role, kept, public)
    return public


def roles_of_compromise(role: str) -> tuple[str, ...]:
    """Return which online roles need new keys when the key of `role` is a thief's.

    What snapshot and timestamp have said is remembered by devices, so a count that a thief drove far ahead is forgotten
    only with their keys. Whoever had one online key had the machine with the others.
    """
    if role == COMMANDS_KEY:
        return (role,)
    return tuple(dict.fromkeys([*ONLINE_ROLES, *([role] if is_online_role(role) else [])]))


def is_online_role(role: str) -> bool:
    """Return whether the key of `role` lies with the server."""
    return role in (*ONLINE_ROLES, COMMANDS_KEY) or role.startswith("rollouts-")


def rotate_online(repository: Repository, fresh: dict[str, Key], now: datetime, *, compromised: bool = False) -> Motion:
    """Return a motion that gives each online role in `fresh` its new key.

    compromised: counters and the time floor of snapshot and timestamp start anew, and the old command key counts no more
    (else envelopes that it signed stay valid until the next rotation). Raises NotThere for an unknown role.
    """
    draft = Draft(repository.current(), repository.folder)
    _put_online(draft, fresh, now, compromised=compromised)
    return _finish(draft, now)


def replace_holder(
    repository: Repository,
    name: str,
    new: Key | None,
    now: datetime,
    *,
    fresh: dict[str, Key] | None = None,
) -> Motion:
    """Return a motion by which `new` takes the place of the holder called `name`, or, where it is None, nobody does.

    name: a holder's name or the start of a key's id. fresh: new online keys, after a theft. Raises NotThere, or BreaksRule
    when too few would be left.
    """
    draft = Draft(repository.current(), repository.folder)
    found = False
    for role, keys, threshold in hands(draft):
        gone = [key for key in keys if holder(key) == name or key.keyid.startswith(name)]
        if not gone:
            continue
        found = True
        kept = [key for key in keys if key not in gone] + ([new] if new is not None else [])
        _put_hand(draft, role, kept, threshold)
    if not found:
        names = sorted({holder(key) for _, keys, _ in hands(draft) for key in keys})
        raise NotThere(f"no holder is called {name}; there are {', '.join(names)}")
    if fresh:
        _put_online(draft, fresh, now, compromised=True)
    return _finish(draft, now)


def set_hand(
    repository: Repository,
    role: str,
    keys: Sequence[Key],
    threshold: int,
    now: datetime,
    *,
    fresh: dict[str, Key] | None = None,
) -> Motion:
    """Return a motion by which `keys`, of which `threshold` must sign, become the holders of root, releases or keys."""
    draft = Draft(repository.current(), repository.folder)
    _put_hand(draft, role, list(keys), threshold)
    if fresh:
        _put_online(draft, fresh, now, compromised=True)
    return _finish(draft, now)


def renew(repository: Repository, roles: Iterable[str], now: datetime) -> Motion:
    """Return a motion that signs `roles` anew as they are, for another year."""
    draft = Draft(repository.current(), repository.folder)
    for role in roles:
        if role not in OFFLINE:
            raise NotThere(f"{role} is not signed by holders; these are: {', '.join(OFFLINE)}")
        draft.touched.add(role)
    return _finish(draft, now)


def add_region(repository: Repository, region: str, key: Key, now: datetime) -> Motion:
    """Return a motion that adds `region`, whose rollouts `key` signs; raise BreaksRule when it is there."""
    role = rollouts_role(check_label("region", region))
    draft = Draft(repository.current(), repository.folder)
    delegations = _delegations(draft)
    assert delegations.roles is not None
    if role in delegations.roles:
        raise BreaksRule(f"there is a region {region} already")
    delegations.roles[role] = DelegatedRole(role, [key.keyid], 1, True, paths=[rollout_path(region)])
    delegations.keys[key.keyid] = key
    draft.touched.add("targets")
    return _finish(draft, now)


def withdraw(repository: Repository, names: Iterable[str], now: datetime) -> Motion:
    """Return a motion that unlists the releases called `names`: no device will take one of them any more."""
    draft = Draft(repository.current(), repository.folder)
    releases = draft.roles[RELEASES_ROLE]
    numbers = last_numbers(releases)
    for name in names:
        path = release_path(name)
        if path not in releases.targets:
            listed = ", ".join(sorted(draft.current.releases())) or "nothing"
            raise NotThere(f"{name} is not listed. Listed: {listed}")
        del releases.targets[path]
    releases.unrecognized_fields[NUMBERS_FIELD] = numbers
    draft.touched.add(RELEASES_ROLE)
    return _finish(draft, now)


def hands(draft: Draft) -> list[tuple[str, list[Key], int]]:
    """Return the offline roles that have holders of their own (targets goes with root): name, keys, threshold."""
    top = draft.root.roles["root"]
    rows = [("root", [draft.root.keys[keyid] for keyid in top.keyids], top.threshold)]
    delegations = _delegations(draft)
    for role in (RELEASES_ROLE, KEYS_ROLE):
        owner = (delegations.roles or {})[role]
        rows.append((role, [delegations.keys[keyid] for keyid in owner.keyids], owner.threshold))
    return rows


def key_list_of(keys: Iterable[Key]) -> bytes:
    """Return the document by which devices know whose commands to believe."""
    rows = tuple(
        PublicKey(keyid=key.keyid, keytype=key.keytype, scheme=key.scheme, public=str(key.keyval["public"]))
        for key in keys
    )
    return codec.encode(KeyList(keys=rows))


def _delegations(draft: Draft) -> Delegations:
    delegations = draft.roles["targets"].delegations
    assert delegations is not None
    return delegations


def _put_hand(draft: Draft, role: str, keys: list[Key], threshold: int) -> None:
    check_threshold(role, threshold, keys)
    check_distinct(role, keys)
    if role == "root":
        for name in ("root", "targets"):
            for keyid in list(draft.root.roles[name].keyids):
                draft.root.revoke_key(keyid, name)
            for key in keys:
                draft.root.add_key(key, name)
            draft.root.roles[name].threshold = threshold
        draft.touched |= {"root", "targets"}
    elif role in (RELEASES_ROLE, KEYS_ROLE):
        delegations = _delegations(draft)
        owner = (delegations.roles or {})[role]
        owner.keyids[:] = [key.keyid for key in keys]
        owner.threshold = threshold
        delegations.keys.update({key.keyid: key for key in keys})
        draft.touched |= {"targets", role}
    else:
        raise NotThere(f"{role} has no holders of its own; these have: root (and targets with it), releases, keys")


def _put_online(draft: Draft, fresh: dict[str, Key], now: datetime, *, compromised: bool) -> None:
    delegations = _delegations(draft)
    for role, key in fresh.items():
        if role in ONLINE_ROLES:
            for keyid in list(draft.root.roles[role].keyids):
                draft.root.revoke_key(keyid, role)
            draft.root.add_key(key, role)
            draft.touched.add("root")
        elif role == COMMANDS_KEY:
            old = [one for one in command_keys(draft.key_list.decode()) if one.keyid != key.keyid]
            draft.key_list = key_list_of([key, *([] if compromised else old[:1])])
            entry = TargetFile.from_data(COMMAND_KEYS_PATH, draft.key_list, ["sha256"])
            draft.roles[KEYS_ROLE].targets[COMMAND_KEYS_PATH] = entry
            draft.touched.add(KEYS_ROLE)
        else:
            owner = (delegations.roles or {}).get(role)
            if owner is None or not role.startswith("rollouts-"):
                raise NotThere(f"this repository has no online role {role}")
            owner.keyids[:] = [key.keyid]
            delegations.keys[key.keyid] = key
            draft.touched.add("targets")
    draft.restart = compromised and set(ONLINE_ROLES) <= set(fresh)


def _finish(draft: Draft, now: datetime) -> Motion:
    delegations = _delegations(draft)
    used = {keyid for role in (delegations.roles or {}).values() for keyid in role.keyids}
    for keyid in set(delegations.keys) - used:
        del delegations.keys[keyid]
    for role in draft.touched:
        body = draft.root if role == "root" else draft.roles[role]
        body.version += 1
        body.expires = whole_seconds(now) + life(role)
    if "root" in draft.touched:
        draft.root.unrecognized_fields[ISSUED_FIELD] = stamp(now)
    return draft.motion()
