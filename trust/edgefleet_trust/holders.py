"""Who holds a key: the public file that a holder hands out, and the name that travels inside signed metadata."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from securesystemslib.signer import Key

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from .errors import BreaksRule, KeyProblem, NotThere
from .files import NotRegular, open_regular
from .roles import COMMANDS_KEY, ONLINE_ROLES
from .words import material

NAME_FIELD = "x-edgefleet-holder"
SCHEMES = {("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")}
"""(keytype, scheme) that devices verify."""
RESERVED = {"root", "targets", "releases", "keys", COMMANDS_KEY, *ONLINE_ROLES}
_LIMIT = 4096


class PublicFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`NAME.pub`: all of a key that ever leaves its holder."""

    name: str
    keyid: str
    key: dict[str, object]
    format: int = 1


def check_holder_name(name: str) -> str:
    """Return `name`; raise BreaksRule for one that no holder can have."""
    try:
        check_label("holder", name)
    except BadName as error:
        raise BreaksRule(str(error)) from error
    if name in RESERVED or name.startswith("rollouts-"):
        raise BreaksRule(f"a holder cannot be called {name}: that is a role")
    return name


def named(key: Key, name: str) -> Key:
    """Return `key` with its holder's name in it."""
    plain = key.to_dict()
    plain[NAME_FIELD] = name
    return Key.from_dict(key.keyid, plain)


def holder(key: Key) -> str:
    """Return whose key it is, as people say it: the holder's name, else the start of the key's id."""
    name = key.unrecognized_fields.get(NAME_FIELD)
    return name if isinstance(name, str) and name.isprintable() and len(name) <= 64 else key.keyid[:8]


def public_file(name: str, key: Key) -> bytes:
    """Return what `NAME.pub` holds."""
    plain = {field: value for field, value in key.to_dict().items() if field != NAME_FIELD}
    document = PublicFile(name=check_holder_name(name), keyid=key.keyid, key=plain)
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def read_public(path: Path) -> Key:
    """Return the key in a `NAME.pub` file, with the holder's name in it; raise NotThere, or KeyProblem for another file."""
    try:
        with open_regular(path) as file:
            data = file.read(_LIMIT + 1)
    except NotRegular as error:
        raise KeyProblem(f"{path} is no regular file: name what `edgefleet trust key new` wrote") from error
    except OSError as error:
        raise NotThere(f"{path} cannot be read: {error.strerror}") from error
    try:
        if len(data) > _LIMIT:
            raise ValueError(f"more than {_LIMIT} bytes")
        document = msgspec.json.decode(data, type=PublicFile)
        key = Key.from_dict(document.keyid, dict(document.key))
        check_key(key)
        return named(key, check_holder_name(document.name))
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeyProblem(f"{path} is not what `edgefleet trust key new` writes: {error}") from error


def check_key(key: Key) -> None:
    """Raise KeyProblem for a key that devices would not verify with."""
    if (key.keytype, key.scheme) not in SCHEMES:
        raise KeyProblem(f"the key {holder(key)} is {key.keytype}/{key.scheme}; devices take Ed25519 and P-256")
    material(key)


def check_distinct(role: str, keys: Iterable[Key]) -> None:
    """Raise BreaksRule when one key stands twice among those of `role`: one person would then count as two."""
    seen: dict[bytes, Key] = {}
    for key in keys:
        check_key(key)
        other = seen.setdefault(material(key), key)
        if other is not key:
            raise BreaksRule(
                f"{role}: {holder(other)} ({other.keyid[:8]}) and {holder(key)} ({key.keyid[:8]}) are one and the same "
                "key, so one person would count as two: each holder makes a key of their own"
            )


def check_threshold(role: str, threshold: int, keys: Sequence[Key]) -> None:
    """Raise BreaksRule unless `threshold` of `keys` can sign."""
    if not 1 <= threshold <= len(keys):
        raise BreaksRule(f"{role}: {threshold} of {len(keys)} keys can never sign; name 1 to {len(keys)}")


def usual_root_threshold(count: int) -> int:
    """Return how many of `count` must sign root: more than half, so 1 of 1, 2 of 3, 3 of 5."""
    return count // 2 + 1


def usual_release_threshold(count: int) -> int:
    """Return how many of `count` must sign a release: 1 of 1, 1 of 2, 2 of 3. Two people stay able to work alone."""
    return 1 if count <= 2 else count // 2 + 1
