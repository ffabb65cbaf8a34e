"""An EST client (RFC 7030) with what the standard library has: one request for each connection, bounded in time and size."""

import base64
import binascii
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .errors import AgentError, BadOption
from .identity import Pair

EST = "/.well-known/est"
SETTINGS = "/.well-known/edgefleet/device"
TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 256_000
RETRY_S = 60.0


class Unreachable(AgentError):
    """No answer came: try again later."""


class TurnedAway(AgentError):
    """The server says no, in its own words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"the enrolment server refused ({status}): {words}")
        self.status = status


class NotYet(AgentError):
    """The server says: later. `after_s`: when to come again."""

    def __init__(self, words: str, after_s: float) -> None:
        super().__init__(words)
        self.after_s = after_s


def check_url(url: str) -> None:
    """Raise BadOption unless `url` can be the address of an enrolment server."""
    try:
        parts = urlsplit(url)
        usable = parts.port is None or parts.port > 0
        # An address is for a command line and a log: whatever a terminal would not show as one word is a slip.
        usable = usable and all(sign.isprintable() and not sign.isspace() for sign in url)
        (parts.hostname or "").encode("idna")  # what the resolver would do, and fail at, later
    except ValueError:  # a port beyond 65535, a bracket that does not close, a label of more than 63 letters
        usable = False
    if not usable or parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise BadOption(f"{url!r} is no enrolment server's address: write it as https://HOST:PORT")


@dataclass(frozen=True)
class Est:
    """One enrolment server. ca: what its certificate must be made by, PEM; pair: the device's own, for mutual TLS."""

    url: str
    ca: bytes | None = None
    pair: Pair | None = None

    def __post_init__(self) -> None:
        """Raise BadOption for an address that cannot be one."""
        check_url(self.url)

    def authorities(self) -> bytes:
        """Return the server's authorities, PKCS#7 in DER. Without `ca` nothing of it is believed yet: compare it."""
        return self._certificates(self._ask("GET", f"{EST}/cacerts"))

    def enrol(self, csr: bytes, password: str, label: str | None) -> bytes:
        """Return the certificate for a request, PKCS#7 in DER; raise NotYet while somebody has to say yes."""
        where = f"{EST}/{label}/simpleenroll" if label else f"{EST}/simpleenroll"
        login = base64.b64encode(f"device:{password}".encode()).decode()
        return self._certificates(self._ask("POST", where, csr, {"Authorization": f"Basic {login}"}))

    def renew(self, csr: bytes) -> bytes:
        """Return the renewed certificate, PKCS#7 in DER, by mutual TLS with the old one."""
        return self._certificates(self._ask("POST", f"{EST}/simplereenroll", csr))

    def settings(self) -> dict[str, Any]:
        """Return what EST does not carry, by mutual TLS. Only our own server has it."""
        try:
            found = json.loads(self._ask("GET", SETTINGS))
        except ValueError as error:
            raise Unreachable(f"the server's settings cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise Unreachable("the server's settings are no JSON object")
        return found

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca is None:  # only to fetch the authority, which is then compared with the token's fingerprint
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context.load_verify_locations(cadata=self.ca.decode())
        if self.pair is not None:
            context.load_cert_chain(self.pair.certificate, self.pair.key)
        return context

    def _ask(self, method: str, path: str, csr: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        parts = urlsplit(self.url)
        try:
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port or 443, timeout=TIMEOUT_S, context=self._context()
            )
            try:
                body = base64.encodebytes(csr) if csr is not None else None
                more = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"} if csr else {}
                connection.request(method, parts.path.rstrip("/") + path, body, {**more, **(headers or {})})
                answer = connection.getresponse()
                data = answer.read(MAX_ANSWER_BYTES + 1)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no enrolment server at {self.url}: {error}") from error
        if len(data) > MAX_ANSWER_BYTES:
            raise Unreachable(f"the server at {self.url} answers with more than {MAX_ANSWER_BYTES} bytes")
        words = _words(data)
        if answer.status == 202:
            raise NotYet(words, _seconds(answer.headers.get("Retry-After")))
        if answer.status >= 500 or answer.status in (408, 429):
            raise Unreachable(f"the server at {self.url} cannot answer now ({answer.status}): {words}")
        if answer.status != 200:
            raise TurnedAway(answer.status, words)
        return data

    def _certificates(self, data: bytes) -> bytes:
        try:
            return base64.b64decode(b"".join(data.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Unreachable(f"the server at {self.url} answers, but not as an EST server does: {error}") from error


def _words(data: bytes) -> str:
    text = data[:500].decode(errors="replace").strip()
    return "".join(letter if letter.isprintable() else " " for letter in text) or "it gave no reason"


def _seconds(said: str | None) -> float:
    return min(3600.0, max(1.0, float(said))) if said and said.isascii() and said.isdigit() else RETRY_S
