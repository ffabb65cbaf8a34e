"""Telling people: a thread with a bounded queue, so that a dead mail server holds nothing up."""

import hashlib
import hmac
import json
import logging
import queue
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import httpx

from ..ingest.counters import Counters
from .config import MailConfig, WebhookConfig
from .judge import Alert
from .words import alert_view, body, subject

LOG = logging.getLogger(__name__)

SIGNATURE, DELIVERY, TIMESTAMP = "X-EdgeFleet-Signature", "X-EdgeFleet-Delivery", "X-EdgeFleet-Timestamp"
TIMEOUT_S = 10.0
QUEUED = 500
RETRIES_S = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Before each further try; afterwards it is given up, counted, and said in the log. The alert itself stays in the API."""


@dataclass(frozen=True)
class Told:
    """One thing to tell: `open`, `grew` or `resolve` of an alert."""

    change: str
    alert: Alert
    fleet: str
    at_s: float


Way = Callable[[Told], None]
"""Tells one; raises OSError (and what is one) or httpx.HTTPError when it could not now."""


def webhook(config: WebhookConfig) -> Way:
    """Return what posts one change as JSON, signed: `sha256=` and the HMAC of timestamp, a dot, and the body.

    The timestamp is signed so that an old delivery cannot be sent again later; the delivery's number stays the same over
    retries, so that whoever gets it twice can tell.
    """
    secret = Path(config.secret_file).read_bytes().strip() if config.secret_file else b""

    def tell(told: Told) -> None:
        row: dict[str, Any] = {"change": told.change, "fleet": told.fleet, "alert": alert_view(told.alert, told.at_s)}
        content, stamp = json.dumps(row, separators=(",", ":")).encode(), str(int(told.at_s))
        headers = {
            "Content-Type": "application/json",
            DELIVERY: f"{told.alert.id}-{told.change}-{stamp}",
            TIMESTAMP: stamp,
        }
        if secret:
            headers[SIGNATURE] = sign(secret, stamp, content)
        answer = httpx.post(config.url, content=content, headers=headers, timeout=TIMEOUT_S, follow_redirects=False)
        if not answer.is_success:
            raise OSError(f"it answers {answer.status_code}")

    return tell


def sign(secret: bytes, stamp: str, content: bytes) -> str:
    """Return the signature of one delivery."""
    return "sha256=" + hmac.new(secret, stamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def mail(config: MailConfig) -> Way:
    """Return what sends one change by mail."""

    def tell(told: Told) -> None:
        message = EmailMessage()
        message["Subject"] = subject(told.change, told.alert, told.fleet)
        message["From"], message["To"] = config.sender, ", ".join(config.to)
        message["Date"], message["Message-ID"] = formatdate(told.at_s), make_msgid(domain="edgefleet.invalid")
        # Seven bits: not every server on the way takes eight.
        message.set_content(body(told.change, told.alert, told.fleet), cte="quoted-printable")
        with smtplib.SMTP(config.host, config.port, timeout=TIMEOUT_S) as server:
            if config.starttls:
                server.starttls(context=ssl.create_default_context(cafile=config.ca or None))
            if config.username:
                server.login(config.username, Path(config.password_file).read_text(encoding="utf-8").strip())
            server.send_message(message)

    return tell


class Teller:
    """One thread for each way; a way that fails is tried again, and holds up no other."""

    def __init__(self, ways: "dict[str, Way]", counters: Counters, retries_s: Sequence[float] = RETRIES_S) -> None:
        self._counters, self._retries_s = counters, tuple(retries_s)
        self._stopping = threading.Event()
        self._queues: dict[str, queue.Queue[Told | None]] = {name: queue.Queue(QUEUED) for name in ways}
        self._threads = [
            threading.Thread(target=self._run, args=(name, way), name=f"alerts by {name}", daemon=True)
            for name, way in ways.items()
        ]

    def start(self) -> None:
        """Begin to tell."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what waits is tried once more, a few seconds long."""
        for waiting in self._queues.values():
            try:
                waiting.put_nowait(None)
            except queue.Full:
                self._counters.add("alerts_untold")
        self._stopping.set()
        until = time.monotonic() + 5.0
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=max(0.0, until - time.monotonic()))

    def tell(self, told: Told) -> None:
        """Queue one thing to tell; never blocks."""
        for name, waiting in self._queues.items():
            try:
                waiting.put_nowait(told)
            except queue.Full:
                self._counters.add("alerts_untold", reason=f"{name}: {QUEUED} wait already")

    def _run(self, name: str, way: Way) -> None:
        while (told := self._queues[name].get()) is not None:
            self._try(name, way, told)

    def _try(self, name: str, way: Way, told: Told) -> None:
        for wait_s in (0.0, *self._retries_s):
            if wait_s and self._stopping.wait(wait_s):
                break
            try:
                way(told)
            except Exception as error:  # whatever a server far away does, this thread goes on
                self._counters.add("alerts_not_told", reason=f"{name}: {error}")
                LOG.warning("alert %d could not be told by %s: %s", told.alert.id, name, error)
            else:
                self._counters.add("alerts_told")
                return
        self._counters.add("alerts_untold", reason=f"{name}: alert {told.alert.id} was given up")
