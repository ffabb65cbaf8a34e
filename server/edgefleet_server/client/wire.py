"""One connection to a server: requests that are repeated safely when the line fails, and the live stream."""

import http.client
import json
import math
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from .errors import BadRequest, NoServer, of_problem
from .types import Live, Problem

TIMEOUT_S = 30.0
QUIET_S = 45.0
"""The stream says something each 15 s; after three times that long without a word it is dead."""
TRIES = 3
WAIT_S = 0.3
"""Before the second try, and twice as long before each further one."""
Query = Mapping[str, str | int | float | bool | None]


class Wire:
    """Speaks HTTP to one server. Not for several threads at once."""

    def __init__(
        self, url: str, token: str | None, verify: ssl.SSLContext | None, timeout_s: float = TIMEOUT_S
    ) -> None:
        parts = urlsplit(url)
        self.url, self._host, self._port = url.rstrip("/"), parts.hostname or "", parts.port
        self._path, self._tls, self._timeout_s = parts.path.rstrip("/"), parts.scheme == "https", timeout_s
        self._verify = verify
        self._headers = {"Accept": "application/json", "User-Agent": "edgefleet-client"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._open: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, query: Query | None = None, body: Any = None) -> bytes:
        """Return the body of the answer; raise ApiError for a problem, NoServer when nobody answers.

        What changes something carries a key, so that it may be sent again when no answer came: it is done once.
        """
        headers, data = dict(self._headers), None
        if method != "GET":
            _finite(body)
            data = msgspec.json.encode({} if body is None else body)
            headers["Content-Type"] = "application/json"
            if method == "POST":
                headers["Idempotency-Key"] = str(uuid.uuid4())
        target = f"{self._path}{path}{_question(query)}"
        for left in reversed(range(TRIES)):
            fresh = self._open is None
            try:
                connection = self._connect(self._timeout_s)
                connection.request(method, target, data, headers)
                answer = connection.getresponse()
                whole = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A server that is not there now is said at once; one that left a connection of ours, or went away in the
                # middle, may be there again. DELETE may have been done, and then the answer would be that it is not there.
                if (
                    not left
                    or (fresh and isinstance(error, ConnectionRefusedError | ssl.SSLError))
                    or method == "DELETE"
                ):
                    raise NoServer(f"no server answers at {self.url}: {error or type(error).__name__}") from error
                time.sleep(WAIT_S * 2 ** (TRIES - 1 - left))
                continue
            if left and answer.status == 409 and b'"urn:edgefleet:problem:in-progress"' in whole:
                time.sleep(1.0)  # our own request, whose answer was lost on the way, is still at work
                continue
            if left and answer.status == 503 and method == "GET":
                time.sleep(WAIT_S * 2 ** (TRIES - 1 - left))
                continue
            return self._said(answer, whole)
        raise AssertionError

    def stream(self, path: str, query: Query | None = None, last_id: str | None = None) -> Iterator[Live]:
        """Yield the messages of the live stream until it ends; raise NoServer when the line fails."""
        headers = {**self._headers, "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        connection = self._new(QUIET_S)
        try:
            connection.request("GET", f"{self._path}{path}{_question(query)}", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200 or "text/event-stream" not in (answer.getheader("content-type") or ""):
                self._said(answer, answer.read())
                raise NoServer(f"{self.url} answers, but not with a live stream")
            yield from _messages(answer)
        except (OSError, http.client.HTTPException) as error:
            raise NoServer(f"the live stream of {self.url} broke off: {error or type(error).__name__}") from error
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._open is None:
            self._open = self._new(timeout_s)
        return self._open

    def _new(self, timeout_s: float) -> http.client.HTTPConnection:
        # http.client knows no proxy: one of the environment is for the world, and not for a fleet's own server.
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._verify)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _said(self, answer: http.client.HTTPResponse, body: bytes) -> bytes:
        if 200 <= answer.status < 300:
            return body
        try:
            problem = msgspec.json.decode(body, type=Problem)
        except msgspec.MsgspecError:
            raise NoServer(f"{self.url} answers {answer.status}, but not as an EdgeFleet server does") from None
        raise of_problem(msgspec.structs.replace(problem, status=answer.status))


def _finite(value: Any, where: str = "") -> None:
    """Raise BadRequest for a number that JSON cannot say: it would be sent as null, which means *not set*."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest(f"{where or 'the value'} is {value}: write a finite number")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _finite(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            _finite(inner, f"{where}.{place}")


def _question(query: Query | None) -> str:
    rows = [(key, str(value).lower() if isinstance(value, bool) else value) for key, value in (query or {}).items()]
    words = urlencode([(key, value) for key, value in rows if value is not None])
    return f"?{words}" if words else ""


def _messages(lines: http.client.HTTPResponse) -> Iterator[Live]:
    data: list[str] = []
    event, number = "message", None
    while line := lines.readline():
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            if data:
                yield Live(event=event, data=json.loads("\n".join(data)), id=number)
            event, data = "message", []
            continue
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "id":
            number = value
        elif name == "data":
            data.append(value)
