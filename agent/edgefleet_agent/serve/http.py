"""HTTP/1.1 for one connection: enough for every client of the Open Inference Protocol, and bounded in every direction.

Kept apart from what is answered (`oip`) and from who accepts (`door`). Why not http.server: it neither bounds a slow
client nor reads a body straight into one buffer.
"""

import socket
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from .errors import Refused

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
MAX_LINE = 4096
"""Of a chunk's size, with what some clients add to it."""
MAX_BODY_BYTES = 64 * 1024 * 1024
HEAD_S = 5.0
"""From the first byte of a request to the end of its head; for the first request from when the connection was taken."""
BODY_S = 120.0
SEND_S = 60.0
"""A client that does not read its answer is let go after this."""


@dataclass(frozen=True)
class Request:
    """A request whose body is read. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: memoryview
    keep_alive: bool


@dataclass(frozen=True)
class Response:
    """An answer. `body` is sent piece by piece, without joining them."""

    status: int
    body: Sequence[bytes | memoryview] = ()
    """Views are of single bytes."""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    after: Callable[[], None] | None = None
    """What is done once it is sent: nobody waits for it."""


@dataclass(frozen=True)
class Head:
    """The first part of a request."""

    method: str
    path: str
    version: str
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to ask more on this connection."""
        said = {word.strip().lower() for word in self.headers.get("connection", "").split(",")}
        return "close" not in said if self.version == "HTTP/1.1" else "keep-alive" in said


class Closed(Exception):
    """The client is gone, or too slow."""


class Reader:
    """Reads requests from a socket, each within its deadline."""

    def __init__(self, sock: socket.socket, rest: bytes = b"", first_by: float = 0.0) -> None:
        """rest: what was read of it already. first_by: when the first head must be whole, by `time.monotonic`."""
        self._sock = sock
        self._rest = rest
        self._first_by = first_by

    @property
    def rest(self) -> bytes:
        """What was read of the next request."""
        return self._rest

    @property
    def first(self) -> bool:
        """Whether nothing was asked yet on this connection."""
        return self._first_by > 0

    def wait(self, timeout_s: float) -> bool:
        """Return True when a request begins, False when the client closed or nothing came in time."""
        if self._rest:
            return True
        if self._first_by:
            timeout_s = max(0.001, self._first_by - time.monotonic())
        try:
            self._sock.settimeout(timeout_s)
            self._rest = self._sock.recv(65536)
        except OSError:
            return False
        return bool(self._rest)

    def line(self) -> bytes:
        """Return the request line, without reading beyond what came with it; raise Refused or Closed."""
        return self._until(b"\r\n")[0]

    def head(self) -> Head:
        """Return the head; raise Refused for one that breaks the rules, Closed when it does not come."""
        data, end = self._until(b"\r\n\r\n")
        self._first_by = 0.0
        self._rest = self._rest[end + 4 :]
        return parse_head(data)

    def _until(self, mark: bytes) -> tuple[bytes, int]:
        """Return what comes before `mark`, and where that is in what was read; it stays there."""
        deadline = self._first_by or time.monotonic() + HEAD_S
        data = self._rest
        while True:
            # Some clients end a body with an empty line that belongs to nothing.
            while data.startswith(b"\r\n"):
                data = data[2:]
            self._rest = data
            if (end := data.find(mark)) >= 0:
                return data[:end], end
            if len(data) > MAX_HEAD_BYTES:
                raise Refused(431, f"the request's head is longer than {MAX_HEAD_BYTES} bytes")
            data += self._recv(65536, deadline)

    def body(self, view: memoryview) -> None:
        """Fill `view` with what follows; raise Closed when it does not come."""
        deadline = time.monotonic() + BODY_S
        length = len(view)
        got = min(length, len(self._rest))
        view[:got] = self._rest[:got]
        self._rest = self._rest[got:]
        while got < length:
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                received = self._sock.recv_into(view[got:])
            except OSError as error:
                raise Closed(str(error)) from error
            if not received:
                raise Closed("the client closed before the body was whole")
            got += received

    def chunked(self, hold: Callable[[int], None]) -> memoryview:
        """Return a body that comes in chunks; `hold` is told of each one's size before it is read.

        Raises Refused for one that breaks the rules or is too long, Closed when it does not come.
        """
        body = bytearray()
        deadline = time.monotonic() + BODY_S
        while True:
            size = _chunk_size(self._line(deadline))
            if len(body) + size > MAX_BODY_BYTES:
                raise Refused(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
            if not size:
                break
            hold(size)
            start = len(body)
            body += bytes(size)
            with memoryview(body) as view:
                self.body(view[start:])
            if self._line(deadline):
                raise Refused(400, "a chunk of the body is longer than it says")
        for _ in range(MAX_HEADERS):
            if not self._line(deadline):
                return memoryview(body)
        raise Refused(431, f"more than {MAX_HEADERS} headers follow the body")

    def _line(self, deadline: float) -> bytes:
        while (end := self._rest.find(b"\r\n")) < 0:
            if len(self._rest) > MAX_LINE:
                raise Refused(400, "a line within the chunks of the body is too long")
            self._rest += self._recv(65536, deadline)
        line, self._rest = self._rest[:end], self._rest[end + 2 :]
        return line

    def _recv(self, size: int, deadline: float) -> bytes:
        self._sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self._sock.recv(size)
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("the client closed before the head was whole")
        return data


def parse_head(data: bytes) -> Head:
    """Return the head in `data`, without its last empty line; raise Refused for one that breaks the rules."""
    lines = data.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refused(400, f"not an HTTP/1.1 request line: {lines[0][:100]!r}")
    if len(lines) > MAX_HEADERS:
        raise Refused(431, f"the request has more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        key = name.lower()
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise Refused(400, f"not a header: {line[:100]!r}")
        if key in headers and key in ("content-length", "transfer-encoding", "inference-header-content-length"):
            raise Refused(400, f"the header {name} comes twice")
        headers[key] = value.strip()
    return Head(parts[0], parts[1], parts[2], headers)


def body_length(head: Head) -> int | None:
    """Return how many bytes of body follow, None for a body in chunks; raise Refused where that is not said plainly."""
    coding = head.headers.get("transfer-encoding")
    if coding is None:
        return number(head, "content-length", 0, MAX_BODY_BYTES, 413)
    if "content-length" in head.headers or head.version != "HTTP/1.1":
        raise Refused(400, "a body has either Content-Length or Transfer-Encoding, and HTTP/1.0 only the first")
    if coding.lower() != "chunked":
        raise Refused(501, f"Transfer-Encoding {coding[:40]!r} is not supported; chunked is")
    return None


def _chunk_size(line: bytes) -> int:
    text = line.partition(b";")[0].strip()
    if not text or len(text) > 16 or not all(byte in b"0123456789abcdefABCDEF" for byte in text):
        raise Refused(400, f"{line[:40]!r} is not the size of a chunk")
    return int(text, 16)


def number(head: Head, header: str, default: int, limit: int, status: int = 400) -> int:
    """Return the number in `header`; raise Refused for anything else, and with `status` beyond `limit`."""
    text = head.headers.get(header)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise Refused(400, f"{header} is {text[:40]!r}, which is no number of bytes")
    if len(text) > 18 or int(text) > limit:
        raise Refused(status, f"{header} is {text[:40]} and the limit is {limit}")
    return int(text)


def unpack(body: memoryview, encoding: str) -> memoryview:
    """Return the body as it was before `encoding` (gzip, deflate); raise Refused when it cannot be, or is too large."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Refused(415, f"Content-Encoding {encoding[:40]!r} is not supported; gzip and deflate are")
    # 32: zlib tells gzip and deflate apart by itself.
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        data = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise Refused(400, f"the body is not {encoding}: {error}") from error
    if unpacker.unconsumed_tail:
        raise Refused(413, f"the body unpacks to more than {MAX_BODY_BYTES} bytes")
    if not unpacker.eof:
        raise Refused(400, f"the {encoding} body ends too early")
    return memoryview(data)


def render(response: Response, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """Return `response` as one piece; for small ones."""
    head = _head(response, keep_alive)
    return head if head_only else b"".join((head, *response.body))


def send(sock: socket.socket, response: Response, *, keep_alive: bool, head_only: bool = False) -> None:
    """Send `response`; raise Closed when the client does not take it."""
    pieces = response.body
    try:
        sock.settimeout(SEND_S)
        if head_only or sum(len(piece) for piece in pieces) <= 65536:
            # One packet: head and body in two would wait for each other's acknowledgement.
            sock.sendall(render(response, keep_alive=keep_alive, head_only=head_only))
        else:
            sock.sendall(_head(response, keep_alive))
            for piece in pieces:
                sock.sendall(piece)
    except OSError as error:
        raise Closed(str(error)) from error


def _head(response: Response, keep_alive: bool) -> bytes:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        f"Content-Length: {sum(len(piece) for piece in response.body)}",
        f"Content-Type: {response.content_type}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def part(sock: socket.socket) -> None:
    """Close so that the client can still read its last answer, also when it has more to send than was read.

    Closing with unread bytes makes the kernel send a reset, which overtakes the answer.
    """
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(1.0)
        end = time.monotonic() + 2.0
        while time.monotonic() < end and sock.recv(65536):
            pass
    except OSError:
        pass
    sock.close()
