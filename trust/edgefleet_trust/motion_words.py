"""What a motion would change, in words for the person who is asked to sign it. Worked out from before and after."""

from collections.abc import Iterable

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from edgefleet_protocol.trust import KEYS_ROLE, RELEASES_ROLE, release_of_path

from .holders import holder
from .judge import Judged, command_keys
from .motion import OFFLINE
from .roles import FLEET_FIELD, ONLINE_ROLES
from .words import fingerprint


def describe_motion(judged: Judged) -> list[str]:
    """Return the lines that a key holder reads before signing."""
    lines = [*_headline(judged), *_hands(judged), *_server_keys(judged), *_releases(judged), *_command_keys(judged)]
    for role in OFFLINE:
        if role in judged.motion.next:
            body = judged.motion.metadata(role).signed
            lines.append(f"{role} becomes version {body.version}, valid until {body.expires:%Y-%m-%d}")
    if judged.motion.restart:
        lines.append("Counters and signed time of snapshot and timestamp start anew on every device.")
    lines += [signature_words(judged)]
    return [plain(line) for line in lines]


def plain(line: str) -> str:
    """Names are other people's words: an escape sequence in them could hide a line from the holder."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def title(judged: Judged) -> str:
    """Return in a few words what the motion is."""
    motion = judged.motion
    if motion.is_ceremony:
        return f"the first keys of fleet {motion.fleet}"
    gone = _withdrawn(judged)
    parts = [f"the withdrawal of {', '.join(gone)}"] if gone else []
    if judged.before is not None and (regions := _regions(judged.targets) - _regions(judged.before[1])):
        parts.append(f"the new region {', '.join(sorted(regions))}")
    if changed := [role for role, _, _ in _changed_hands(judged)] + [role for role, _ in _changed_online(judged)]:
        parts.append(f"new keys for {', '.join(changed)}")
    return " and ".join(parts) or f"the renewal of {', '.join(motion.next)}"


def missing_words(judged: Judged) -> str:
    """Return who has not signed yet, for each set of holders that is short of signatures."""
    groups: dict[tuple[str, int, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for need in judged.needs:
        if not need.enough:
            have = tuple(_names(need.keys, need.signed))
            left = tuple(_names(need.keys, {key.keyid for key in need.keys} - set(need.signed)))
            groups.setdefault((need.why, need.threshold, have, left), []).append(need.role)
    return plain(
        "; ".join(
            f"{', '.join(roles)} ({why}): {len(have)} of {threshold} needed signatures are there"
            f"{' (' + ', '.join(have) + ')' if have else ''}, {', '.join(left)} can sign"
            for (why, threshold, have, left), roles in groups.items()
        )
    )


def signature_words(judged: Judged) -> str:
    """Return who has signed and whether that is enough."""
    signed = {keyid for need in judged.needs for keyid in need.signed}
    keys = {key.keyid: key for need in judged.needs for key in need.keys}
    who = ", ".join(sorted({holder(keys[keyid]) for keyid in signed})) or "nobody yet"
    return f"Signed by {who}; " + ("that is enough" if judged.enough else "it needs more. " + missing_words(judged))


def _headline(judged: Judged) -> Iterable[str]:
    text = title(judged)
    yield text[0].upper() + text[1:]
    fleet = judged.root.unrecognized_fields.get(FLEET_FIELD)
    if judged.motion.is_ceremony:
        yield f"Fleet {fleet}, regions {', '.join(sorted(_regions(judged.targets)))}"
        yield "Compare each holder's words with that person, by voice, before you sign. There is no later check."


def _hands(judged: Judged) -> Iterable[str]:
    said: set[str] = set()
    for role, before, after in _changed_hands(judged):
        keys, threshold = after
        old_keys, old_threshold = before if before is not None else ((), 0)
        both = f"{role} and targets" if role == "root" else role
        was = f" (until now {old_threshold} of {len(old_keys)})" if before is not None else ""
        yield f"{both}: {threshold} of {len(keys)} must sign{was}: {', '.join(holder(key) for key in keys)}"
        if threshold == 1 and len(keys) > 1:
            yield f"  each of these people alone can sign {both}"
        for key in old_keys:
            if key.keyid not in {one.keyid for one in keys}:
                yield f"  GONE {holder(key)} ({key.keyid[:8]})"
        for key in keys:
            if key.keyid not in said | {one.keyid for one in old_keys}:
                said.add(key.keyid)
                yield f"  NEW  {holder(key)}: {fingerprint(key)}"


def _changed_hands(
    judged: Judged,
) -> list[tuple[str, tuple[tuple[Key, ...], int] | None, tuple[tuple[Key, ...], int]]]:
    rows = []
    for role in ("root", RELEASES_ROLE, KEYS_ROLE):
        after = hand_of(role, judged.root, judged.targets)
        before = hand_of(role, *judged.before) if judged.before is not None else None
        if before is None or _ids(before) != _ids(after):
            rows.append((role, before, after))
    return rows


def hand_of(role: str, root: Root, targets: Targets) -> tuple[tuple[Key, ...], int]:
    """Return the keys of an offline or delegated role and how many must sign."""
    if role in root.roles:
        owner = root.roles[role]
        return tuple(root.keys[keyid] for keyid in owner.keyids), owner.threshold
    assert targets.delegations is not None
    delegated = (targets.delegations.roles or {})[role]
    return tuple(targets.delegations.keys[keyid] for keyid in delegated.keyids), delegated.threshold


def _ids(hand: tuple[tuple[Key, ...], int]) -> tuple[frozenset[str], int]:
    return frozenset(key.keyid for key in hand[0]), hand[1]


def _changed_online(judged: Judged) -> list[tuple[str, Key]]:
    rows = []
    for role in (*ONLINE_ROLES, *(f"rollouts-{region}" for region in sorted(_regions(judged.targets)))):
        (key,), _ = hand_of(role, judged.root, judged.targets)
        old: tuple[Key, ...] = ()
        if judged.before is not None and (
            role in ONLINE_ROLES or role[len("rollouts-") :] in _regions(judged.before[1])
        ):
            old, _ = hand_of(role, *judged.before)
        if [one.keyid for one in old] != [key.keyid]:
            rows.append((role, key))
    return rows


def _server_keys(judged: Judged) -> Iterable[str]:
    for role, key in _changed_online(judged):
        yield f"the server's key for {role}: {fingerprint(key)}"


def _regions(targets: Targets) -> set[str]:
    delegations = targets.delegations
    names = (delegations.roles or {}) if delegations is not None else {}
    return {name.removeprefix("rollouts-") for name in names if name.startswith("rollouts-")}


def _withdrawn(judged: Judged) -> list[str]:
    motion = judged.motion
    if motion.is_ceremony or RELEASES_ROLE not in motion.next:
        return []
    gone = set(motion.current(RELEASES_ROLE).signed.targets) - set(motion.metadata(RELEASES_ROLE).signed.targets)
    return sorted(release_of_path(path) for path in gone)


def _releases(judged: Judged) -> Iterable[str]:
    motion = judged.motion
    if motion.is_ceremony or RELEASES_ROLE not in motion.next:
        return
    for name in _withdrawn(judged):
        yield f"WITHDRAWN {name}: devices take it no more; those that run it keep on until their rollout says otherwise"
    left = sorted(release_of_path(path) for path in motion.metadata(RELEASES_ROLE).signed.targets)
    yield f"Listed from then on: {', '.join(left) or 'nothing'}"


def _command_keys(judged: Judged) -> Iterable[str]:
    if KEYS_ROLE in judged.motion.next:
        for number, key in enumerate(command_keys(judged.motion.key_list)):
            yield f"{'signs' if number == 0 else 'still counts for'} commands to devices: {fingerprint(key)}"


def _names(keys: Iterable[Key], keyids: Iterable[str]) -> list[str]:
    wanted = set(keyids)
    return sorted(holder(key) for key in keys if key.keyid in wanted)
