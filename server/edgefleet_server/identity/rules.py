"""Whether a device may come in, or have a new certificate: facts in, one answer with its reason out. The order is the policy."""

from dataclasses import dataclass

from ..store.enrolments import Enrolment
from ..store.identities import IdentityRow
from .csr import Asked
from .tokens import Token
from .words import moment

LATE_RENEWAL_S = 365 * 86400.0
"""As authority.LATE_RENEWAL says it."""


@dataclass(frozen=True)
class Refuse:
    """Turn it away, with HTTP's status."""

    why: str
    status: int = 403
    alarm: bool = False
    """Whether somebody should hear of it: two hold one identity."""


@dataclass(frozen=True)
class Wait:
    """Let it wait until somebody has said yes."""

    why: str


@dataclass(frozen=True)
class Again:
    """Answer as before: the first answer was lost on its way."""

    certificate: str


@dataclass(frozen=True)
class Issue:
    """Give it a certificate. `ends`: the serials that end with it."""

    ends: tuple[str, ...] = ()


Step = Refuse | Wait | Again | Issue


@dataclass(frozen=True)
class Knocking:
    """What the server knows when somebody comes with a token."""

    token: Token | None
    used: int = 0
    """Keys that the token let in, or that wait."""
    mine: Enrolment | None = None
    """What became of this very key with this token."""
    waiting: Enrolment | None = None
    """Another key that waits under the same name."""
    board: Enrolment | None = None
    """Who came with this token from a board of the same serial."""
    holder: IdentityRow | None = None
    """The newest certificate of that name."""
    live: tuple[str, ...] = ()
    """The serials of all certificates of that name that were not revoked."""
    of_key: IdentityRow | None = None
    """The newest certificate of this key."""


def enrol(asked: Asked, label: str | None, seen: Knocking, now: float) -> Step:
    """Return what becomes of a request with a token. `label`: the region in the path, when one was named."""
    token, mine = seen.token, seen.mine
    if token is None:
        return Refuse("the token is not one of this server's: copy it whole, or ask for a new one", 401)
    if token.revoked_s is not None:
        return Refuse(f"token {token.id} was revoked at {moment(token.revoked_s)}: ask for a new one")
    if label is not None and label != token.region:
        return Refuse(f"token {token.id} is for region {token.region}, and the device asks for {label}")
    if mine is not None and mine.device != asked.device:
        return Refuse(f"this key came with token {token.id} as {mine.device}, and asks now for {asked.device}")
    if now >= token.expires_s and (mine is None or mine.status == "issued"):
        return Refuse(
            f"token {token.id} ended at {moment(token.expires_s)}, and it is {moment(now)}: ask for a new one"
        )
    if (problem := _not_allowed(asked, token)) is not None:
        return Refuse(problem)
    if seen.of_key is not None and seen.of_key.device != asked.device:
        return Refuse(f"the key is that of {seen.of_key.device}: each device makes its own")
    if mine is not None and mine.status == "issued":
        if seen.of_key is None or not seen.of_key.live:
            return Refuse(f"token {token.id} has let this key in, and its certificate was revoked since")
        return Again(seen.of_key.certificate)
    if mine is not None and mine.status == "rejected":
        return Refuse(f"somebody refused {asked.device} with this key: see edgefleet device approve")
    if mine is None and seen.used >= token.cap:
        return Refuse(f"token {token.id} is used up: it lets in {token.cap}, and {seen.used} came")
    if seen.board is not None and seen.board.public_key != asked.key_sha256:
        return Refuse(f"the board {asked.hardware_serial} came with token {token.id} before, under another key")
    if (problem := _taken(asked, token, seen)) is not None:
        return Refuse(problem)
    if token.approve and (mine is None or mine.status == "waiting"):
        return Wait(f"{asked.device} waits until somebody approves it: edgefleet device approve {asked.device}")
    return Issue(seen.live)


def renew(
    asked: Asked, mine: IdentityRow | None, next_one: IdentityRow | None, of_key: IdentityRow | None, now: float
) -> Step:
    """Return what becomes of a request by mutual TLS.

    mine: the row of the certificate that it came with. next_one: the live certificate that renews that one already.
    of_key: the newest certificate of the request's key.
    """
    if mine is None:
        return Refuse("the certificate is not one that this server gave to a device")
    if mine.revoked_s is not None:
        return Refuse(
            f"the certificate of {mine.device} was revoked at {moment(mine.revoked_s)}: enrol with a new token"
        )
    if now > mine.not_after_s + LATE_RENEWAL_S:
        return Refuse(
            f"the certificate of {mine.device} ended at {moment(mine.not_after_s)}, more than a year ago: enrol with a "
            "new token"
        )
    if asked.device != mine.device:
        return Refuse(f"the certificate is that of {mine.device}, and the request names {asked.device}")
    if asked.key_sha256 == mine.public_key:
        return Refuse("the request has the old key: a renewal comes with a new one", 400)
    if next_one is not None and next_one.public_key == asked.key_sha256:
        return Again(next_one.certificate)
    if of_key is not None:
        return Refuse(f"the key was that of {of_key.device} before: a renewal comes with a new one")
    if next_one is not None and next_one.confirmed_s is not None:
        return Refuse(
            f"{mine.device} renewed this certificate at {moment(next_one.issued_s)} and came with the new one since: "
            "whoever asks now has a copy. Revoke the device if it is not known which is the true one",
            alarm=True,
        )
    return Issue((next_one.serial,) if next_one is not None else ())


def _not_allowed(asked: Asked, token: Token) -> str | None:
    if token.device is not None and token.device != asked.device:
        return f"token {token.id} is for {token.device}, and {asked.device} came with it"
    if not token.allowed:
        return None
    if asked.hardware_serial is None:
        return f"token {token.id} is for boards of a list, and the request names no serial"
    row = next((one for one in token.allowed if one.serial == asked.hardware_serial), None)
    if row is None:
        return f"the board {asked.hardware_serial} is not on the list of token {token.id}"
    if row.device is not None and row.device != asked.device:
        return f"the board {row.serial} is to be {row.device}, and asks for {asked.device}"
    return None


def _taken(asked: Asked, token: Token, seen: Knocking) -> str | None:
    """Return why the name cannot be had: a name changes its key only by the owner's word."""
    old = seen.holder
    if seen.waiting is not None and seen.waiting.public_key != asked.key_sha256:
        return f"another key waits to be {asked.device}: approve or reject that one first"
    if old is None or old.public_key == asked.key_sha256:
        return None
    if old.live and token.device != asked.device:
        return (
            f"{asked.device} has an identity already. If it is to have a new one, revoke the old one first, or make a "
            f"token with --device {asked.device}"
        )
    if old.revoked_s is not None and token.created_s <= old.revoked_s:
        return f"{asked.device} was revoked after token {token.id} was made: make a new token if it may come back"
    return None
