"""What a device needs to enrol by itself: `STATE/enrol/`, written by `agent enrol` and `agent seal`, gone once it is done."""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .errors import AgentError, BadOption
from .identity import CA, ENROLMENT, ROOT
from .identity_files import SECRET, folder, put, remove

FOLDER, FILE, BUNDLE = "enrol", "seed.json", "bundle"
PREFIX = "ef1"
IN_BUNDLE = (CA, ROOT, ENROLMENT)


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """Where to enrol, and by which right."""

    url: str
    token: str
    device: str | None = None
    region: str | None = None
    root: str | None = None
    """The pinned root of trust that the server must name, base64: an image that was enrolled before knows it."""
    bundle: bool = False
    """Whether `bundle/` brings what a server that is not ours does not tell."""
    format: int = 1


@dataclass(frozen=True)
class Token:
    """A token of our own server, taken apart."""

    fingerprint: bytes
    password: str


def read_token(text: str) -> Token:
    """Return the parts of `ef1.<fingerprint>.<secret>`; raise BadOption, which never quotes the secret."""
    parts = text.strip().split(".")
    try:
        if len(parts) != 3 or parts[0] != PREFIX:
            raise ValueError
        mark, secret = (base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True) for part in parts[1:])
        if len(mark) != 32 or len(secret) != 16:
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadOption(
            f"the token is not one of an EdgeFleet server ({PREFIX}.….…, 70 characters): copy it whole. A server of another "
            "make needs --bundle"
        ) from None
    return Token(mark, parts[2])


def save(state: Path, seed: Seed, bundle: Path | None = None) -> None:
    """Keep `seed` below `state`, durably; raise BadOption for a bundle that cannot be read."""
    where = folder(state / FOLDER)
    if bundle is not None:
        inner = folder(where / BUNDLE)
        for name in IN_BUNDLE:
            try:
                put(inner / name, (bundle / name).read_bytes())
            except OSError as error:
                raise BadOption(
                    f"{bundle / name} cannot be read: {error.strerror}. A bundle holds {', '.join(IN_BUNDLE)}"
                ) from error
    put(where / FILE, msgspec.json.encode(seed), SECRET)


def load(state: Path) -> Seed | None:
    """Return the seed below `state`, or None; raise AgentError for one that cannot be read."""
    path = state / FOLDER / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Seed)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise AgentError(
            f"{path} cannot be read: {error}. Write it anew: edgefleet agent enrol URL --at-boot"
        ) from error


def bundle_of(state: Path) -> Path:
    """Return the folder of the bundle."""
    return state / FOLDER / BUNDLE


def forget(state: Path) -> None:
    """Remove the seed and its token."""
    remove(state / FOLDER)
