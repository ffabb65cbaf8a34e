"""A connection that is kept, over a Unix socket or loopback TCP, and one exchange on it."""

import contextlib
import http.client
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Lost(Exception):
    """The connection closed before any byte of the answer: the request may be sent again."""


class Connection:
    """One kept connection to `target`: the path of a Unix socket, or `http://127.0.0.1:PORT`. Not for two threads."""

    def __init__(self, target: str, timeout_s: float) -> None:
        self.target = target
        self._http: http.client.HTTPConnection
        if "://" in target:
            address = urlsplit(target)
            if address.scheme != "http" or not address.hostname:
                raise ValueError(f"{target!r} is no address: write http://127.0.0.1:PORT")
            self._http = _Tcp(address.hostname, address.port or 80, timeout=timeout_s)
        else:
            self._http = _Unix(target, timeout_s)

    def exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Return the answer.

        Raises ConnectionError or FileNotFoundError when nothing listens, TimeoutError when nothing comes in time, and
        Lost when the connection closed before any byte of an answer. Sends once; whether to send again is the caller's.
        """
        if self._http.sock is None:
            self._http.connect()
        try:
            # Where the other side stopped reading, it may have said why before that.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._http.request(method, path, body, headers)
            try:
                response = self._http.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                raise Lost(str(error)) from error
            data = response.read()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, data)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close; the next exchange opens it again."""
        self._http.close()


class _Tcp(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect, without waiting to fill packets."""
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock
