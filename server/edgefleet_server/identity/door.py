"""From a request to its answer, without a socket: what stands between the listener and the desk."""

import base64
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography import x509

from ..errors import ServerError
from ..store.database import Unavailable
from . import est
from .desk import Desk, Later
from .refusal import TurnedAway, forbidden

LOG = logging.getLogger(__name__)
RETRY_AFTER_S = 60
"""For those that wait for approval: somebody has to press a key."""


@dataclass(frozen=True)
class Settings:
    """What a new device must know and EST does not carry."""

    fleet: str
    url: str
    broker_host: str
    broker_port: int
    root: Callable[[], bytes]
    broker_of: Callable[[str], tuple[str, int] | None] = lambda region: None
    """Host and port of a region's own broker; None where it has none."""


@dataclass(frozen=True)
class Asking:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    certificate: bytes | None
    """DER of the client's certificate, that the listener has verified to be the authority's; its times are not."""
    peer: str


class Door:
    """Answers requests. Never raises: what goes wrong on this side is a 503 with a line in the log."""

    def __init__(self, desk: Desk, ca: x509.Certificate, settings: Settings) -> None:
        self._desk, self._ca, self._settings = desk, ca, settings

    def answer(self, asking: Asking) -> est.Answer:
        """Return the answer to a request."""
        try:
            return self._answer(asking)
        except TurnedAway as error:
            return est.refusal(error)
        except (Unavailable, ServerError, OSError) as error:
            LOG.warning("the enrolment door could not answer: %s", error)
            return est.refusal(TurnedAway(503, "the server cannot do it now: come again later"))

    def _answer(self, asking: Asking) -> est.Answer:
        verb, label = est.route(asking.method, asking.path)
        if verb == "cacerts":
            return est.certificates([self._ca])
        if verb == "settings":
            return self._tell(_serial(asking.certificate), label)
        csr = est.csr_of(asking.headers.get("content-type", ""), asking.body)
        if verb == "simplereenroll":
            given = self._desk.renew(csr, _serial(asking.certificate), asking.peer)
        else:
            password = est.password_of(asking.headers.get("authorization", ""))
            answer = self._desk.enrol(csr, password, label, asking.peer)
            if isinstance(answer, Later):
                return est.later(answer.why, RETRY_AFTER_S)
            given = answer
        return est.certificates([x509.load_pem_x509_certificate(given.certificate.encode())])

    def _tell(self, serial: str, label: str | None) -> est.Answer:
        mine, ours = self._desk.confirmed(serial), self._settings
        host, port = ours.broker_of(mine.region) or (ours.broker_host, ours.broker_port)
        document = {
            "format": 1,
            "device": mine.device,
            "fleet": ours.fleet,
            "region": mine.region,
            "url": ours.url,
            "broker": {"host": host, "port": port},
            "root": base64.b64encode(ours.root()).decode(),
        }
        return est.Answer(200, json.dumps(document).encode(), "application/json")


def _serial(certificate: bytes | None) -> str:
    if certificate is None:
        raise forbidden("this needs the device's certificate (mutual TLS), and none came")
    return f"{x509.load_der_x509_certificate(certificate).serial_number:x}"
