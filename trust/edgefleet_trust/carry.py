"""Publishing a motion: judged again, shown to devices new and old, and only then the repository changes, all at once."""

import json
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Targets

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.trust import COMMAND_KEYS_PATH, KEYS_ROLE, RELEASES_ROLE, rollouts_role

from .chain import same_document
from .commit import Change, commit, following, online_pair, place
from .current import CHUNKS, METADATA, TARGETS, Current, read_target
from .device_view import device_view
from .errors import BreaksRule
from .files import Disk, check_empty, locked
from .judge import Judged, command_keys, judge
from .motion import OFFLINE, Motion
from .motion_words import missing_words
from .online import OnlineKeys
from .repository import Repository
from .roles import COMMANDS_KEY, ONLINE_ROLES, life, new_role, sign, whole_seconds


def publish_motion(
    motion: Motion, repository: Repository, keys: OnlineKeys, now: datetime, disk: Disk | None = None
) -> bool:
    """Bring `motion` into the repository; return False when it was there already.

    Raises BadProposal or BreaksRule, with nothing changed, for a motion that was altered, that too few have signed, that
    is of another repository, or that does not follow the current state. Cut at any step, the state is the old or the new
    one, and publishing again completes it.
    """
    disk = disk or Disk()
    with locked(repository.folder):
        current = repository.current()
        if carried_already(motion, current):
            _settle(repository.folder, current, keys, disk)
            return False
        judged = judge(motion, current.first_root(), now)
        check_enough(judged)
        _check_base(motion, current)
        change = _change(judged, repository, current, keys, now)
        commit(repository.folder, current, change, keys, now, disk, old_clients=True)
        _settle(repository.folder, repository.current(), keys, disk)
    return True


def publish_ceremony(motion: Motion, folder: Path, keys: OnlineKeys, now: datetime, disk: Disk | None = None) -> bool:
    """Make the repository in `folder` from a ceremony that enough have signed; return False when it was made already."""
    disk = disk or Disk()
    if (folder / METADATA / "timestamp.json").is_file():
        current = Repository(folder).current()
        if same_document(motion.next["root"].encode(), current.first_root()):
            return False
        raise BreaksRule(f"{folder} holds another repository: name a new folder")
    judged = judge(motion, None, now)
    check_enough(judged)
    metadata: dict[str, bytes] = {"1.root.json": motion.next["root"].encode()}
    roles = {role: motion.next[role].encode() for role in OFFLINE[1:]}
    for region in motion.regions:
        role = rollouts_role(region)
        roles[role] = sign(new_role(role, now), [keys.signer(role, _delegated(judged.targets)[role])])
    metadata |= {f"1.{role}.json": data for role, data in roles.items()}
    metadata |= online_pair(roles, (1, 1), keys, now, judged.root)
    data = motion.key_list.encode()
    keys.signer(COMMANDS_KEY, [key.keyid for key in command_keys(motion.key_list)])
    device_view(metadata, {COMMAND_KEYS_PATH: sha256_hex(data)})
    if not (folder / "fleet.json").exists():  # else an interrupted one is completed
        check_empty(folder)
    for name in (METADATA, TARGETS, CHUNKS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    disk.put(folder / "fleet.json", fleet_file(motion.fleet, motion.regions))
    place(folder, {sha256_hex(data): data}, {}, metadata, disk)
    return True


def carried_already(motion: Motion, current: Current) -> bool:
    """Return whether the repository holds what the motion says, so that there is nothing to do."""
    newest = {"root": f"{current.root.version}.root.json"} | {role: current.role_file(role) for role in OFFLINE[1:]}
    return all(same_document(text.encode(), current.files[newest[role]]) for role, text in motion.next.items())


def check_enough(judged: Judged) -> None:
    """Raise BreaksRule, naming who is missing, unless enough holders have signed."""
    if not judged.enough:
        raise BreaksRule(f"{missing_words(judged)}: `edgefleet trust sign` comes first")


def fleet_file(fleet: str, regions: Collection[str]) -> bytes:
    """Return what `fleet.json` holds."""
    return json.dumps({"fleet": fleet, "regions": list(regions)}, indent=1).encode()


def _check_base(motion: Motion, current: Current) -> None:
    here: dict[str, bytes] = {role: current.files[current.role_file(role)] for role in OFFLINE[1:]}
    here["root"] = current.files[f"{current.root.version}.root.json"]
    for role in OFFLINE:
        base = motion.roots[-1] if role == "root" else motion.base[role]
        if not same_document(base.encode(), here[role]):
            was, now = motion.current(role).signed.version, Metadata[Any].from_bytes(here[role]).signed.version
            raise BreaksRule(
                f"the file was made upon version {was} of {role} and the repository is at {now}: something else was "
                "published since. Make the file anew, then sign and publish that"
            )


def _change(judged: Judged, repository: Repository, current: Current, keys: OnlineKeys, now: datetime) -> Change:
    """Return the change of the repository: what was signed, and the regions' roles that need the server's new keys."""
    motion = judged.motion
    roles = {role: text.encode() for role, text in motion.next.items() if role != "root"}
    targets: dict[str, bytes] = {}
    found: dict[str, str | None] = {COMMAND_KEYS_PATH: sha256_hex(motion.key_list.encode())}
    if KEYS_ROLE in motion.next:
        data = motion.key_list.encode()
        targets[sha256_hex(data)] = data
        keys.signer(COMMANDS_KEY, [key.keyid for key in command_keys(motion.key_list)])  # that there is one of them
    for role, keyids in _delegated(judged.targets).items():
        if not role.startswith("rollouts-"):
            continue
        old = current.roles.get(role)
        if old is not None and set(current.delegated(role).keyids) == set(keyids):
            continue
        signer = keys.signer(role, keyids)
        if old is None:
            roles[role] = sign(new_role(role, now), [signer])
            continue
        number = following(repository.folder, role, old.version, restart=motion.restart)
        body = Targets(version=number, expires=whole_seconds(now) + life(role), targets=dict(old.targets))
        roles[role] = sign(Metadata(body), [signer])
        found |= {path: file.hashes["sha256"] for path, file in old.targets.items()}
    listed: Targets = (
        motion.metadata(RELEASES_ROLE) if RELEASES_ROLE in motion.next else motion.current(RELEASES_ROLE)
    ).signed
    found |= {path: file.hashes["sha256"] for path, file in listed.targets.items()}
    root = motion.next["root"].encode() if "root" in motion.next else None
    return Change(roles=roles, targets=targets, found=found, root=root, restart=motion.restart)


def _delegated(targets: Targets) -> dict[str, list[str]]:
    delegations = targets.delegations
    assert delegations is not None
    return {name: list(role.keyids) for name, role in (delegations.roles or {}).items()}


def _settle(folder: Path, current: Current, keys: OnlineKeys, disk: Disk) -> None:
    """What follows from a state in force: the server's new keys in their places, and the names of its regions."""
    names: dict[str, Collection[str]] = {role: current.root.roles[role].keyids for role in ONLINE_ROLES}
    names |= _delegated(current.roles["targets"])
    entry = current.key_list()
    if entry is not None:
        newest = command_keys(read_target(folder, entry.hashes["sha256"]).decode())[0]
        names[COMMANDS_KEY] = [newest.keyid]
    keys.settle(names, disk)
    about = json.loads((folder / "fleet.json").read_bytes())
    regions = [name.removeprefix("rollouts-") for name in names if name.startswith("rollouts-")]
    if set(regions) != set(about["regions"]):
        disk.put(
            folder / "fleet.json",
            fleet_file(about["fleet"], [*about["regions"], *sorted(set(regions) - set(about["regions"]))]),
        )
