"""EST (RFC 7030) on the wire, without a socket: paths, media types, what a body holds, what an answer looks like."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from .refusal import TurnedAway, unreadable

ROOT = "/.well-known/est"
SETTINGS = "/.well-known/edgefleet/device"
"""Ours: what EST does not carry. By mutual TLS with the new certificate."""
MAX_BODY_BYTES = 16_384
REQUEST, ANSWER = "application/pkcs10", "application/pkcs7-mime"

Verb = Literal["cacerts", "simpleenroll", "simplereenroll", "settings"]
METHODS: dict[str, str] = {"cacerts": "GET", "simpleenroll": "POST", "simplereenroll": "POST", "settings": "GET"}


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def route(method: str, path: str) -> tuple[Verb, str | None]:
    """Return what is asked, and the label in the path, which is a region; raise TurnedAway for what is not here."""
    plain = path.partition("?")[0]
    verb: str
    label: str | None = None
    if plain == SETTINGS:
        verb = "settings"
    else:
        parts = plain.removeprefix(ROOT + "/").split("/") if plain.startswith(ROOT + "/") else []
        if len(parts) not in (1, 2) or parts[-1] not in METHODS or parts[-1] == "settings":
            known = ", ".join([*(f"{ROOT}/{name}" for name in METHODS if name != "settings"), SETTINGS])
            raise TurnedAway(404, f"there is nothing at this path. There are: {known}")
        verb = parts[-1]
        if len(parts) == 2:
            try:
                label = check_label("region", parts[0])
            except BadName as error:
                raise TurnedAway(404, str(error)) from error
    if method != METHODS[verb]:
        raise TurnedAway(405, f"{plain} is asked by {METHODS[verb]}")
    return verb, label  # type: ignore[return-value]


def body_length(headers: Mapping[str, str]) -> int:
    """Return how many bytes follow; raise TurnedAway for a length that is not said, or too large."""
    if headers.get("transfer-encoding"):
        raise TurnedAway(411, "the body must come with its length, and not in chunks")
    said = headers.get("content-length", "")
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        raise TurnedAway(411, "the request must say its length")
    if int(said) > MAX_BODY_BYTES:
        raise TurnedAway(413, f"the request has {int(said)} bytes and may have {MAX_BODY_BYTES}")
    return int(said)


def csr_of(content_type: str, body: bytes) -> bytes:
    """Return the DER of the request in `body`; raise TurnedAway."""
    if content_type.partition(";")[0].strip().lower() != REQUEST:
        raise TurnedAway(415, f"a request is sent as {REQUEST}, base64")
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise unreadable(f"the body is not base64: {error}") from error


def password_of(authorization: str) -> str:
    """Return the password of HTTP Basic; raise TurnedAway when there is none."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise TurnedAway(401, "enrolling needs a token, as the password of HTTP Basic")
    try:
        plain = base64.b64decode(coded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise TurnedAway(401, f"the password cannot be read: {error}") from error
    return plain.partition(":")[2]


def certificates(rows: Sequence[x509.Certificate]) -> Answer:
    """Return a certs-only answer."""
    der = pkcs7.serialize_certificates(list(rows), Encoding.DER)
    headers = {"Content-Transfer-Encoding": "base64"}
    return Answer(200, base64.encodebytes(der), f"{ANSWER}; smime-type=certs-only", headers)


def later(why: str, after_s: int) -> Answer:
    """Return the answer to somebody who has to come again."""
    return Answer(202, f"{why}\n".encode(), headers={"Retry-After": str(after_s)})


def refusal(error: TurnedAway) -> Answer:
    """Return the answer to somebody who is turned away."""
    headers = {"WWW-Authenticate": 'Basic realm="enrolment token"'} if error.status == 401 else {}
    if error.status == 503:
        headers["Retry-After"] = "30"
    return Answer(error.status, f"{error}\n".encode(), headers=headers)
