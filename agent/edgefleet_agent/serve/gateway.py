"""One loopback port for every model of the device: takes a connection, reads which model it asks for, and passes it on.

Passed is the connection itself, not what is said on it: from then on the client talks to that model's worker, and no byte
goes through here. When a connection that is kept asks for another model, the worker gives it back. What concerns all
models is answered here: `/v2`, health, the repository's index.

Runs on a thread of the agent's process and waits for nobody there: no socket blocks, and a client that says nothing has a
few seconds. Standard library and msgspec only.
"""

import contextlib
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import unquote

from ..log import LOG
from .answers import get, index, refusal, server, unmovable
from .errors import Refused
from .handoff import ANY_WORKER, MAX_PASSED, give, pair, receive
from .http import HEAD_S, MAX_HEAD_BYTES, Request, Response, body_length, parse_head, render

MAX_GUESTS = 128
SILENT_S = 2.0
"""As in a worker: who said nothing for so long gives way when all places are taken."""
MAX_BODY = 16 * 1024
"""Of what is answered here."""


@dataclass(eq=False)
class _Guest:
    sock: socket.socket
    since: float
    data: bytes = b""


@dataclass
class _Model:
    giving: socket.socket
    taking: socket.socket
    """Inherited by the model's workers."""
    version: str = ""
    ready: bool = False
    reason: str = "no worker serves it yet"


class Gateway:
    """The port and its thread."""

    def __init__(self, listener: socket.socket, *, shared_memory: bool = False) -> None:
        """listener: bound and listening, not blocking. It stays the caller's."""
        self._listener, self._shared_memory = listener, shared_memory
        self._models: dict[str, _Model] = {}
        self._guests: set[_Guest] = set()
        self._lock = threading.Lock()
        self._back_giving, self._back_taking = pair()
        self._stop_ours, self._stop = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (listener, self._back_taking, self._stop):
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="edgefleet-gateway", daemon=True)
        self._thread.start()

    def add(self, model: str) -> None:
        """Know a model; connections for it wait until a worker takes them."""
        with self._lock:
            if model not in self._models:
                self._models[model] = _Model(*pair())

    def remove(self, model: str) -> None:
        """Forget a model; connections that wait for it are closed."""
        with self._lock:
            gone = self._models.pop(model, None)
            if gone is not None:
                gone.giving.close()
                gone.taking.close()

    def descriptors(self, model: str) -> tuple[int, int]:
        """What a worker of `model` inherits: where it takes connections, and where it gives them back."""
        with self._lock:
            return self._models[model].taking.fileno(), self._back_giving.fileno()

    def serves(self, model: str, version: str) -> None:
        """A worker takes the model's connections."""
        self._set(model, version, ready=True, reason="")

    def died(self, model: str, reason: str) -> None:
        """The worker is gone."""
        self._set(model, None, ready=False, reason=reason)

    def close(self) -> None:
        """End; connections that were passed on are the workers'."""
        self._stop_ours.close()
        self._thread.join()
        for guest in self._guests:
            guest.sock.close()
        for model in list(self._models):
            self.remove(model)
        for sock in (self._back_giving, self._back_taking, self._stop):
            sock.close()
        self._selector.close()

    def _set(self, model: str, version: str | None, *, ready: bool, reason: str) -> None:
        with self._lock:
            row = self._models.get(model)
            if row is not None:
                row.version = row.version if version is None else version
                row.ready, row.reason = ready, reason

    def _run(self) -> None:
        while True:
            try:
                for key, _ in self._selector.select(1.0 if self._guests else None):
                    if key.fileobj is self._stop:
                        return
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._back_taking:
                        self._take_back()
                    elif isinstance(key.data, _Guest) and key.data in self._guests:
                        self._read(key.data)
                self._dismiss_silent(HEAD_S)
            except Exception:  # one client's words must not close the door to all others
                LOG.exception("the gateway could not answer, and goes on")

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            # Without a free descriptor the listener stays readable: let it rest.
            time.sleep(0.01)
            return
        self._welcome(sock, b"")

    def _take_back(self) -> None:
        try:
            passed = receive(self._back_taking)
        except BlockingIOError:
            return
        except OSError:
            self._renew_back()
            return
        if passed is not None:
            self._welcome(*passed)

    def _renew_back(self) -> None:
        """A worker shut the way back, which would be readable for ever: later workers get another one.

        Those that run can give nothing back any more, and close such a connection instead.
        """
        with self._lock:
            self._selector.unregister(self._back_taking)
            self._back_taking.close()
            self._back_giving.close()
            self._back_giving, self._back_taking = pair()
            self._selector.register(self._back_taking, selectors.EVENT_READ)
        LOG.warning("a worker shut the way by which connections come back to the gateway; it was made anew")

    def _welcome(self, sock: socket.socket, data: bytes) -> None:
        sock.setblocking(False)
        if len(self._guests) >= MAX_GUESTS:
            self._dismiss_silent(SILENT_S)
        if len(self._guests) >= MAX_GUESTS:
            with contextlib.suppress(OSError):
                sock.send(render(refusal(Refused(503, "too many connections wait here: try again")), keep_alive=False))
            sock.close()
            return
        guest = _Guest(sock, time.monotonic(), data)
        self._guests.add(guest)
        self._selector.register(sock, selectors.EVENT_READ, guest)
        if data:
            self._look(guest)

    def _dismiss_silent(self, seconds: float) -> None:
        now = time.monotonic()
        for guest in [each for each in self._guests if now - each.since >= seconds]:
            self._leave(guest)

    def _leave(self, guest: _Guest) -> None:
        """Forget a connection; whoever it was given to has its own copy."""
        self._guests.discard(guest)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(guest.sock)
        guest.sock.close()

    def _read(self, guest: _Guest) -> None:
        try:
            data = guest.sock.recv(min(8192, MAX_PASSED - len(guest.data)))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave(guest)
            return
        guest.data += data
        self._look(guest)

    def _look(self, guest: _Guest) -> None:
        """Pass a connection on, or answer, as soon as enough is read."""
        try:
            while guest in self._guests:
                guest.data = guest.data.lstrip(b"\r\n")
                line, found, _ = guest.data.partition(b"\r\n")
                if not found:
                    if len(guest.data) > MAX_HEAD_BYTES:
                        raise Refused(431, f"the request's head is longer than {MAX_HEAD_BYTES} bytes")
                    return
                if (model := self._asked(line)) is not None:
                    self._pass_on(guest, model)
                elif not self._answer(guest):
                    return
        except Refused as error:
            self._send(guest, refusal(error), keep_alive=False)

    def _asked(self, line: bytes) -> str | None:
        """Return the model whose worker answers a request that begins with `line`; None for what is answered here."""
        words = line.split(b" ")
        path = words[1].partition(b"?")[0] if len(words) > 1 else b""
        with self._lock:
            if path.startswith(ANY_WORKER) and self._shared_memory:
                return next((name for name, row in self._models.items() if row.ready), None)
            parts = path.split(b"/")
            if parts[:3] != [b"", b"v2", b"models"] or len(parts) < 4:
                return None
            # A worker gives back what does not begin with its name as it is written: so neither is unquoted.
            name = parts[3].decode("latin-1")
            return name if name in self._models else None

    def _pass_on(self, guest: _Guest, name: str) -> None:
        with self._lock:
            model = self._models.get(name)
            given = model is not None and give(model.giving, guest.sock, guest.data)
        if not given:
            raise Refused(503, f"{name} takes no more connections now: try again")
        self._leave(guest)

    def _answer(self, guest: _Guest) -> bool:
        """Answer a request here once it is whole; return whether it was."""
        head_data, found, rest = guest.data.partition(b"\r\n\r\n")
        if not found:
            if len(head_data) > MAX_HEAD_BYTES:
                raise Refused(431, f"the request's head is longer than {MAX_HEAD_BYTES} bytes")
            return False
        head = parse_head(head_data)
        length = body_length(head)
        if length is None or length > MAX_BODY:
            self._answered_here(head.method, head.path)
            raise Refused(413, f"a body here has Content-Length and at most {MAX_BODY} bytes")
        if len(rest) < length:
            return False
        guest.data = rest[length:]
        guest.since = time.monotonic()
        request = Request(head.method, head.path, head.headers, memoryview(rest)[:length], head.keep_alive)
        try:
            response = self._respond(request)
        except Refused as error:
            response = refusal(error)
        self._send(guest, response, keep_alive=head.keep_alive, head_only=head.method == "HEAD")
        return True

    def _answered_here(self, method: str, path: str) -> None:
        """Raise Refused for what would be refused whatever its body is."""
        self._respond(Request(method, path, {}, memoryview(b""), False))

    def _send(self, guest: _Guest, response: Response, *, keep_alive: bool, head_only: bool = False) -> None:
        """Send what fits into the socket's buffer, as all answers here do; who does not read is let go."""
        data = render(response, keep_alive=keep_alive, head_only=head_only)
        try:
            whole = guest.sock.send(data) == len(data)
            if not keep_alive:
                guest.sock.shutdown(socket.SHUT_WR)
        except OSError:
            whole = False
        if not whole or not keep_alive:
            self._leave(guest)

    def _respond(self, request: Request) -> Response:
        parts = [unquote(part) for part in request.path.partition("?")[0].strip("/").split("/")]
        with self._lock:
            rows = [
                {"name": name, "version": model.version, "state": "READY" if model.ready else "UNAVAILABLE",
                 "reason": model.reason}
                for name, model in sorted(self._models.items())
            ]  # fmt: skip
        match parts:
            case ["v2"]:
                return get(request, server(shared_memory=self._shared_memory))
            case ["v2", "health", "live"]:
                return get(request, {"live": True})
            case ["v2", "health", "ready"]:
                ready = all(row["state"] == "READY" for row in rows)
                said = get(request, {"ready": ready})
                return said if ready else Response(503, said.body, {"Retry-After": "1"})
            case ["v2", "repository", "index"]:
                return index(request, rows)
            case ["v2", "repository", "models", _, "load" | "unload"]:
                raise unmovable(request)
            case ["v2", "models", "stats"]:
                raise Refused(501, "statistics are of one model: ask for /v2/models/NAME/stats")
            case ["v2", "systemsharedmemory", *_]:
                raise Refused(501, "shared memory is not turned on, or no model is ready")
            case ["v2", "models", name, *_]:
                served = ", ".join(str(row["name"]) for row in rows) or "none"
                raise Refused(404, f"no model {name[:100]!r} is served on this device; there is {served}")
        raise Refused(404, f"nothing is at {request.path[:200]}; the protocol begins at /v2")
