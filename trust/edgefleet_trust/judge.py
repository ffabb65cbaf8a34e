"""May this motion be signed, and who must? Walked from the holder's own root and checked line by line.

Whatever a motion holds that no verb of ours would have written is refused: a new kind of delegation, a wider pattern, a
version that skips. So what a holder reads in words is all that it does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from edgefleet_protocol import codec
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.errors import BadName, ProtocolError
from edgefleet_protocol.names import check_label
from edgefleet_protocol.trust import (
    COMMAND_KEYS_PATH,
    ISSUED_FIELD,
    KEYS_PATTERN,
    KEYS_ROLE,
    RELEASES_PATTERN,
    RELEASES_ROLE,
    KeyList,
    rollout_path,
)

from .chain import walk
from .errors import BadProposal, BreaksRule, KeyProblem
from .holders import check_distinct
from .motion import OFFLINE, Motion, parse_as
from .numbers import last_numbers
from .proposal import LONGEST_LIFE
from .roles import FLEET_FIELD, NUMBERS_FIELD, ONLINE_ROLES, stamp

_PREFIX = "rollouts-"
_ISSUED_SLACK = timedelta(days=1)
"""Holders' clocks differ; but a root from the future would lift every device's idea of the time."""


@dataclass(frozen=True)
class Need:
    """Whose signatures a role needs. `why` tells the two sets of a new root apart."""

    role: str
    why: str
    threshold: int
    keys: tuple[Key, ...]
    signed: tuple[str, ...]
    """Ids of those keys whose signature is right."""

    @property
    def enough(self) -> bool:
        """Whether enough have signed."""
        return len(self.signed) >= self.threshold


@dataclass(frozen=True)
class Judged:
    """A motion that may be signed: the state before (None in a ceremony) and after, and who must sign."""

    motion: Motion
    root: Root
    targets: Targets
    before: tuple[Root, Targets] | None
    needs: tuple[Need, ...]

    @property
    def enough(self) -> bool:
        """Whether it may be published."""
        return all(need.enough for need in self.needs)


def judge(motion: Motion, anchor: bytes | None, now: datetime) -> Judged:
    """Return who must sign `motion`; raise BadProposal or BreaksRule for one that nobody should sign.

    anchor: this holder's root 1; None for a holder who is about to sign the first one.
    """
    if not motion.next:
        raise BadProposal("the file changes nothing")
    try:
        before = None if motion.is_ceremony else _before(motion, anchor)
        if motion.is_ceremony and set(motion.next) != set(OFFLINE):
            raise BadProposal("a ceremony must hold root, targets, releases and keys")
        root: Root = _signed(motion, "root", Root) if "root" in motion.next else before[0]  # type: ignore[index]
        if "root" in motion.next:
            _check_root(root, before[0] if before else None, motion, now)
        targets: Targets = _signed(motion, "targets", Targets) if "targets" in motion.next else before[1]  # type: ignore[index]
        if "targets" in motion.next:
            _check_version("targets", targets, before[1] if before else None, now)
            _check_targets(targets, before[1] if before else None)
        if motion.is_ceremony:
            _check_regions(motion, targets)
        if RELEASES_ROLE in motion.next:
            _check_releases(motion, now)
        _check_keys(motion, now)
        _check_restart(motion, root, before[0] if before else None)
        return Judged(motion, root, targets, before, tuple(_needs(motion, root, targets, before)))
    except (RepositoryError, ProtocolError, ValueError, KeyError, KeyProblem) as error:
        raise BadProposal(f"the file is not what a holder can sign: {error}") from error


def _before(motion: Motion, anchor: bytes | None) -> tuple[Root, Targets]:
    if anchor is None:
        raise BadProposal("there is no root beside these keys to judge the file from: name the KEYS folder")
    root = walk(anchor, [text.encode() for text in motion.roots])
    targets = motion.current("targets")
    root.verify_delegate("targets", targets.signed_bytes, targets.signatures)
    body: Targets = parse_as(Targets, targets, "the current targets")
    for role in (RELEASES_ROLE, KEYS_ROLE):
        data = motion.current(role)
        parse_as(Targets, data, f"the current {role}")
        body.verify_delegate(role, data.signed_bytes, data.signatures)
    return root, body


def _signed(motion: Motion, role: str, kind: type) -> Any:
    return parse_as(kind, motion.metadata(role), f"the next {role}")


def _check_version(role: str, new: Any, old: Any, now: datetime) -> None:
    last = old.version if old is not None else 0
    if new.version != last + 1:
        raise BadProposal(f"{role} goes from version {last} to {new.version}, not one on")
    if not now < new.expires <= now + LONGEST_LIFE:
        raise BadProposal(
            f"{role} would be valid until {new.expires:%Y-%m-%d}; it must be later than now and at most "
            f"{LONGEST_LIFE.days} days away: make the file anew"
        )


def _check_root(new: Root, old: Root | None, motion: Motion, now: datetime) -> None:
    _check_version("root", new, old, now)
    if not new.consistent_snapshot:
        raise BadProposal("the next root turns consistent snapshots off; devices need them")
    issued = new.unrecognized_fields.get(ISSUED_FIELD)
    if not isinstance(issued, str) or not stamp(now - LONGEST_LIFE) <= issued <= stamp(now + _ISSUED_SLACK):
        raise BadProposal(
            f"the next root says that it was issued at {issued}, and this machine's clock says {stamp(now)}"
        )
    fleet = motion.fleet if old is None else old.unrecognized_fields.get(FLEET_FIELD)
    said = {key: value for key, value in new.unrecognized_fields.items() if key != ISSUED_FIELD}
    if said != ({FLEET_FIELD: fleet} if fleet else {}):
        raise BadProposal(f"the next root says more than it may: {sorted(said)}")
    if set(new.roles) != {"root", "targets", *ONLINE_ROLES}:
        raise BadProposal(f"the next root has the roles {sorted(new.roles)}")
    for name, role in new.roles.items():
        keys = [new.keys[keyid] for keyid in role.keyids]
        _check_hand(name, role.threshold, keys)
        if name in ONLINE_ROLES and (role.threshold, len(keys)) != (1, 1):
            raise BadProposal(f"{name} must have one key, the server's")
    one, other = (set(new.roles[role].keyids) for role in ("root", "targets"))
    if one != other or new.roles["root"].threshold != new.roles["targets"].threshold:
        raise BadProposal("root and targets must have the same holders and threshold")
    offline = {new.keys[keyid].keyval.get("public") for keyid in one}
    if any(
        new.keys[keyid].keyval.get("public") in offline for role in ONLINE_ROLES for keyid in new.roles[role].keyids
    ):
        raise BreaksRule("a key that signs root also signs for the server: an offline key must stay offline")


def _check_hand(role: str, threshold: int, keys: Sequence[Key]) -> None:
    check_distinct(role, keys)
    if not 1 <= threshold <= len(keys):
        raise BreaksRule(f"{role} would need {threshold} signatures of {len(keys)} keys: nobody could ever sign it")


def _check_targets(new: Targets, old: Targets | None) -> None:
    if new.targets or new.unrecognized_fields:
        raise BadProposal("targets may only say who signs which paths")
    delegations = new.delegations
    if delegations is None or delegations.roles is None:
        raise BadProposal("targets must delegate to named roles")
    for name, role in delegations.roles.items():
        _check_hand(name, role.threshold, [delegations.keys[keyid] for keyid in role.keyids])
        want = {RELEASES_ROLE: RELEASES_PATTERN, KEYS_ROLE: KEYS_PATTERN}.get(name) or _region_path(name)
        if role.paths != [want] or role.path_hash_prefixes is not None or not role.terminating:
            raise BadProposal(f"{name} would sign {role.paths}; it may sign {want} and have the last word there")
        if name.startswith(_PREFIX) and (role.threshold, len(role.keyids)) != (1, 1):
            raise BadProposal(f"{name} must have one key, the server's")
    gone = set((old.delegations.roles or {}) if old is not None and old.delegations is not None else ()) - set(
        delegations.roles
    )
    lost = sorted(gone | ({RELEASES_ROLE, KEYS_ROLE} - set(delegations.roles)))
    if lost:
        raise BadProposal(f"targets would no longer delegate to {', '.join(lost)}")


def _check_regions(motion: Motion, targets: Targets) -> None:
    """Publishing goes by the file's regions, and holders sign those of targets."""
    roles = targets.delegations.roles if targets.delegations is not None else None
    signed = {name.removeprefix(_PREFIX) for name in roles or () if name.startswith(_PREFIX)}
    if set(motion.regions) != signed or len(motion.regions) != len(signed):
        raise BadProposal(
            f"the file names the regions {', '.join(motion.regions) or 'none'}, and targets {', '.join(sorted(signed))}"
        )


def _region_path(role: str) -> str:
    region = role.removeprefix(_PREFIX)
    if region == role:
        raise BadProposal(f"targets would delegate to {role}, a role that does not exist")
    try:
        return rollout_path(check_label("region", region))
    except BadName as error:
        raise BadProposal(str(error)) from error


def _check_releases(motion: Motion, now: datetime) -> None:
    new: Targets = _signed(motion, RELEASES_ROLE, Targets)
    old: Targets | None = None if motion.is_ceremony else motion.current(RELEASES_ROLE).signed
    _check_version(RELEASES_ROLE, new, old, now)
    numbers = last_numbers(old) if old is not None else {}
    if new.delegations is not None or new.unrecognized_fields != ({NUMBERS_FIELD: numbers} if numbers else {}):
        raise BadProposal(
            "the next list of releases says more than which releases there are, or forgets numbers that were given"
        )
    listed = {path: file.to_dict() for path, file in old.targets.items()} if old is not None else {}
    odd = sorted(path for path, file in new.targets.items() if listed.get(path) != file.to_dict())
    if odd:
        raise BadProposal(f"the file lists {', '.join(odd)} anew: a release comes by `edgefleet release propose`")


def _check_keys(motion: Motion, now: datetime) -> None:
    data = motion.key_list.encode()
    role = motion.metadata(KEYS_ROLE) if KEYS_ROLE in motion.next else motion.current(KEYS_ROLE)
    body: Targets = parse_as(Targets, role, "keys")
    if KEYS_ROLE in motion.next:
        _check_version(KEYS_ROLE, body, None if motion.is_ceremony else motion.current(KEYS_ROLE).signed, now)
        if set(body.targets) != {COMMAND_KEYS_PATH} or body.delegations is not None or body.unrecognized_fields:
            raise BadProposal(f"keys may list {COMMAND_KEYS_PATH} and nothing else")
    entry = body.targets[COMMAND_KEYS_PATH]
    if entry.hashes != {"sha256": sha256_hex(data)} or entry.length != len(data) or entry.unrecognized_fields:
        raise BadProposal("the list of command keys in the file is not the one that is signed")
    command_keys(motion.key_list)


def _check_restart(motion: Motion, new: Root, old: Root | None) -> None:
    """Nobody signs `restart`, so it counts only where what is signed bears it out."""
    if motion.restart and (
        old is None or any(set(old.roles[role].keyids) & set(new.roles[role].keyids) for role in ONLINE_ROLES)
    ):
        raise BadProposal(
            f"the file lets the counters of {' and '.join(ONLINE_ROLES)} start anew and leaves their keys as they are: "
            "devices would refuse what follows"
        )


def command_keys(text: str) -> tuple[Key, ...]:
    """Return the command keys in a key list; raise BadProposal when it is none, BreaksRule when one is there twice."""
    try:
        rows = codec.decode(text.encode(), KeyList).keys
    except ProtocolError as error:
        raise BadProposal(f"the list of command keys cannot be read: {error}") from error
    keys = tuple(
        Key.from_dict(row.keyid, {"keytype": row.keytype, "scheme": row.scheme, "keyval": {"public": row.public}})
        for row in rows
    )
    if not keys:
        raise BadProposal("the list of command keys is empty: devices would obey no command")
    check_distinct("commands", keys)
    return keys


def _needs(motion: Motion, root: Root, targets: Targets, before: tuple[Root, Targets] | None) -> Iterable[Need]:
    for role in OFFLINE:
        data = motion.metadata(role) if role in motion.next else None
        if role == "root":
            if data is not None and before is not None and _other_hand(before[0], root):
                yield _need(before[0], data, "root", "the holders until now")
                yield _need(root, data, "root", "the holders from now on")
            elif data is not None:
                yield _need(root, data, "root", "its holders")
            continue
        delegator = root if role == "targets" else targets
        if data is not None:
            yield _need(delegator, data, role, "its holders")
            continue
        current = motion.current(role)
        if not delegator.get_verification_result(role, current.signed_bytes, current.signatures).verified:
            raise BadProposal(
                f"the holders of {role} change, so {role} must be signed anew, and the file leaves it as it is"
            )


def _other_hand(old: Root, new: Root) -> bool:
    return (set(old.roles["root"].keyids), old.roles["root"].threshold) != (
        set(new.roles["root"].keyids), new.roles["root"].threshold,
    )  # fmt: skip


def _need(delegator: Root | Targets, data: Metadata[Any], role: str, why: str) -> Need:
    result = delegator.get_verification_result(role, data.signed_bytes, data.signatures)
    keys: Mapping[str, Key] = {**result.signed, **result.unsigned}
    return Need(
        role=role,
        why=why,
        threshold=result.threshold,
        keys=tuple(keys[keyid] for keyid in sorted(keys)),
        signed=tuple(sorted(result.signed)),
    )
