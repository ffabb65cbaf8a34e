"""The door's socket: HTTPS by the standard library, which, unlike uvicorn, tells the certificate of who asks.

One thread for each connection, and only so many; one request for each connection; every wait has an end.
"""

import contextlib
import logging
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from ..errors import ServerError
from .door import Asking, Door
from .est import Answer, body_length, refusal
from .refusal import TurnedAway

LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
QUIET_S = 10.0
"""Longest silence within a connection."""
WHOLE_S = 30.0
"""Longest life of a connection, however busily it trickles."""
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name: who comes late to renew is judged by the desk."""


class Listener:
    """`start` to `stop`, HTTPS on one address."""

    def __init__(self, host: str, port: int, folder: Path, door: Door) -> None:
        """folder: the authority's, with ca.pem, server.pem and server.key. Raises ServerError for an address that is taken."""
        self._folder = folder
        try:
            self._server = _Server((host, port), _context(folder), door)
        except OSError as error:
            raise ServerError(f"could not listen on {host}:{port} for enrolments: {error.strerror or error}") from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="enrolment", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Take nobody in any more; what is under way may end by itself."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def reload(self) -> None:
        """Take the server's certificate anew from its folder, for connections from now on; raise ServerError."""
        self._server.context = _context(self._folder)


def _context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        context.load_verify_locations(folder / "ca.pem")
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"the server's certificate in {folder} cannot be used: {error}. Make it anew: edgefleet server identity renew"
        ) from error
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | NO_CHECK_TIME)
    return context


class _Server(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, door: Door) -> None:
        self.door, self.context = door, context
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread of its own, or close it when there are too many."""
        with self._lock:
            full = len(self._open) >= MAX_CONNECTIONS
            if not full:
                self._open[request] = time.monotonic() + WHOLE_S
        if full:
            self.shutdown_request(request)
            return
        try:
            threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()
        except RuntimeError:  # no more threads; the base class closes it
            with self._lock:
                self._open.pop(request, None)
            raise

    def service_actions(self) -> None:
        """End connections that last too long."""
        now = time.monotonic()
        with self._lock:
            late = [one for one, end in self._open.items() if now > end]
        for one in late:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What a client did to its own connection is no news."""
        LOG.debug("connection of %s ended", client_address, exc_info=True)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            request.settimeout(QUIET_S)
            # A copy of the descriptor: TLS takes the socket over, and `service_actions` must still be able to end it.
            with self.context.wrap_socket(request.dup(), server_side=True) as secured:
                secured.settimeout(QUIET_S)
                self.finish_request(secured, client_address)
        except (OSError, ValueError):
            LOG.debug("connection of %s ended", client_address, exc_info=True)
        finally:
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "edgefleet", ""

    def setup(self) -> None:
        super().setup()
        self.close_connection = True

    def parse_request(self) -> bool:
        """One request for each connection, whatever the client asks."""
        good = super().parse_request()
        self.close_connection = True
        return good

    def do_GET(self) -> None:  # the base class calls it so
        """Answer one request."""
        self._send(self._ask(lambda: b""))

    def do_POST(self) -> None:  # the base class calls it so
        """Answer one request."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self._ask(lambda: self.rfile.read(body_length(headers))))

    do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = do_GET

    def _ask(self, body: Callable[[], bytes]) -> Answer:
        headers = {name.lower(): value for name, value in self.headers.items()}
        secured = self.connection
        assert isinstance(secured, ssl.SSLSocket)
        try:
            data = body()
        except TurnedAway as error:
            return refusal(error)
        certificate = secured.getpeercert(binary_form=True)
        peer = str(self.client_address[0])
        return self.server.door.answer(Asking(self.command, self.path, headers, data, certificate, peer))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *arguments: Any) -> None:  # the base class names it so
        """One line for each request, for those who want it."""
        LOG.debug("%s %s", self.client_address[0], format % arguments)
