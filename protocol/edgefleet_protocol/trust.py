"""Names, paths and limits of the TUF repository. Verifying is the agent's work, signing the trust package's."""

import re
from typing import Annotated

from msgspec import Meta

from .codec import Document, Record
from .errors import BadName
from .names import check_label, parse_release_name

RELEASES_ROLE = "releases"
"""Offline: which releases exist."""
RELEASES_PATTERN = "releases/*/*"
KEYS_ROLE = "keys"
"""Offline: which key signs device assignments and commands."""
KEYS_PATTERN = "keys/*"
COMMAND_KEYS_PATH = "keys/commands.json"
ISSUED_FIELD = "x-edgefleet-issued"
"""Signed time in root and timestamp, RFC 3339: TUF itself has only expiry."""

DEVICE_ASSIGNMENT_TYPE = "application/vnd.edgefleet.device-assignment+json"
COMMAND_TYPE = "application/vnd.edgefleet.command+json"
DEVICE_STATE_TYPE = "application/vnd.edgefleet.device-state+json"
"""DSSE payload types. The first two are signed by the server's command key, the last by the device's own."""

ROOT_LIMIT = 64_000
TIMESTAMP_LIMIT = 4_000
SNAPSHOT_LIMIT = 64_000
TARGETS_LIMIT = 1_000_000
ROLLOUT_LIMIT = 64_000
MANIFEST_LIMIT = 1_000_000
MAX_ROOT_ROTATIONS = 64
MAX_DELEGATIONS = 8

_RELEASE_PATH = re.compile(r"^releases/([a-z0-9-]{1,64})/([1-9][0-9]{0,8})\.json\Z")


def rollouts_role(region: str) -> str:
    """The online role that signs what `region` should run."""
    return f"rollouts-{check_label('region', region)}"


def rollout_path(region: str) -> str:
    """The target path of a region's rollout document, and the only one that its role may sign."""
    return f"rollouts/{check_label('region', region)}.json"


def release_path(name: str) -> str:
    """The target path of release `fashion/3`: `releases/fashion/3.json`."""
    model, version = parse_release_name(name)
    if version == 0:
        raise BadName(f"{name} is not numbered yet: propose it first, releases count from 1")
    return f"releases/{model}/{version}.json"


def release_of_path(path: str) -> str:
    """The release that `path` names; raise BadName for a path of any other form."""
    match = _RELEASE_PATH.match(path)
    if match is None:
        raise BadName(f"{path!r} is not the path of a release: it must be releases/MODEL/NUMBER.json")
    return f"{check_label('model', match[1])}/{match[2]}"


class PublicKey(Record, frozen=True, kw_only=True):
    """A key that may sign envelopes, as securesystemslib writes it."""

    keyid: Annotated[str, Meta(max_length=64)]
    keytype: Annotated[str, Meta(max_length=32)]
    scheme: Annotated[str, Meta(max_length=32)]
    public: Annotated[str, Meta(max_length=2000)]


class KeyList(Document, frozen=True, kw_only=True):
    """`keys/commands.json`: whose envelopes a device believes."""

    keys: Annotated[tuple[PublicKey, ...], Meta(max_length=16)]
