"""A connection that is kept, over a Unix socket or loopback TCP, and one exchange of HTTP/1.1 on it.

Why not http.client: it copies a body to send it and reads headers with the parser for e-mail, which together cost as much
as a small model. What answers here is the agent's worker, whose answers have a Content-Length.
"""

import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024 * 1024
SEND_BUFFER_BYTES = 1024 * 1024
"""Asked of the kernel, which gives what it allows: a frame that does not fit waits for the other side between its parts."""

Piece = bytes | memoryview


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: memoryview | bytes


class Lost(Exception):
    """The connection closed before any byte of the answer: the request may be sent again."""


class Broken(Exception):
    """The connection closed within an answer, or what came is none."""


class Connection:
    """One kept connection to `target`: the path of a Unix socket, or `http://127.0.0.1:PORT`. Not for two threads."""

    def __init__(self, target: str, timeout_s: float) -> None:
        self.target = target
        self._timeout_s = timeout_s
        self._address: str | tuple[str, int] = target
        if "://" in target:
            address = urlsplit(target)
            if address.scheme != "http" or not address.hostname:
                raise ValueError(f"{target!r} is no address: write http://127.0.0.1:PORT")
            self._address = (address.hostname, address.port or 80)
        self._sock: socket.socket | None = None

    @property
    def is_unix(self) -> bool:
        """Whether the target is a Unix socket."""
        return isinstance(self._address, str)

    def exchange(
        self,
        method: str,
        path: str,
        body: Sequence[Piece] = (),
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Return the answer.

        Raises ConnectionError or FileNotFoundError when nothing listens, TimeoutError when nothing comes within
        `timeout_s` (that of the connection), Lost when the connection closed before any byte of an answer, and Broken
        within one. Sends once; whether to send again is the caller's.
        """
        end = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        sock = self._sock or self.open(end)
        self._sock = sock
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        if method == "POST":
            lines.append(f"Content-Length: {sum(len(piece) for piece in body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        try:
            # Where the other side stopped reading, it may have said why before that.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                send(sock, [head, *body], end)
            answer = receive(sock, end)
        except BaseException:
            self.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def open(self, end: float) -> socket.socket:
        """Return a new connected socket, which is the caller's."""
        family = socket.AF_UNIX if self.is_unix else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(0.001, end - time.monotonic()))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            sock.connect(self._address)
            if not self.is_unix:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Close; the next exchange opens it again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def send(sock: socket.socket, pieces: Sequence[Piece], end: float) -> None:
    """Send all `pieces`, without joining them, until `end` by `time.monotonic`; raise OSError."""
    left = [memoryview(piece) for piece in pieces if len(piece)]
    while left:
        sock.settimeout(max(0.001, end - time.monotonic()))
        sent = sock.sendmsg(left)
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if sent:
            left[0] = left[0][sent:]


def receive(sock: socket.socket, end: float) -> Answer:
    """Return the next answer; raise Lost, Broken or OSError."""
    data = b""
    while (split := data.find(b"\r\n\r\n")) < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise Broken(f"an answer's head is longer than {MAX_HEAD_BYTES} bytes")
        data += _more(sock, end, begun=bool(data))
    status, headers = _read_head(data[:split])
    rest = data[split + 4 :]
    if status == 101:
        return Answer(status, headers, rest)
    text = headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_BODY_BYTES:
        raise Broken(f"an answer says Content-Length {text[:40]!r}")
    length = int(text)
    if len(rest) >= length:
        return Answer(status, headers, rest[:length])
    body = bytearray(length)
    view = memoryview(body)
    view[: len(rest)] = rest
    got = len(rest)
    while got < length:
        sock.settimeout(max(0.001, end - time.monotonic()))
        try:
            count = sock.recv_into(view[got:])
        except ConnectionError as error:
            raise Broken(str(error)) from error
        if not count:
            raise Broken("the connection closed within an answer")
        got += count
    return Answer(status, headers, view)


def _more(sock: socket.socket, end: float, *, begun: bool) -> bytes:
    sock.settimeout(max(0.001, end - time.monotonic()))
    try:
        data = sock.recv(65536)
    except ConnectionError as error:
        raise (Broken if begun else Lost)(str(error)) from error
    if not data:
        raise (Broken if begun else Lost)("the connection closed")
    return data


def _read_head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise Broken(f"what came back is no HTTP: {first[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers
