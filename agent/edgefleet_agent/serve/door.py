"""Who is let in: takes connections from the shared sockets, a bounded number of threads, a bounded queue for the model.

A switch loses nothing: on `pause` no connection is taken any more, what is asked on those that are open is answered,
and the answer says `Connection: close`, so that the client comes back to the worker that took over.

A connection costs a thread, so there are few. Who takes one and asks nothing must not keep others out: what is not asked
within seconds is closed, and when all are taken, the one that has been silent for longest gives way.
"""

import _thread
import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .answers import refusal
from .core import Core, Ran
from .errors import Refused
from .frames import PROTOCOL, Frames
from .handoff import ANY_WORKER, MAX_PASSED, give, receive
from .http import HEAD_S, Closed, Head, Reader, Request, Response, body_length, part, send
from .memory import give_back
from .runtime import Array

MAX_CONNECTIONS = 64
SILENT_S = 2.0
"""A connection that has been silent for so long gives way when all are taken."""
MAX_WAITING = 32
"""Requests that wait for the model. One runs at a time: that is how its memory and latency were tried."""
WAIT_S = 30.0
IDLE_S = 300.0
MAX_BODIES_BYTES = 96 * 1024 * 1024
"""All bodies that are in memory, and all files in memory that clients attached, at a time."""
STACK_BYTES = 1024 * 1024
"""Of a connection's thread, in which the runtime computes; the default of 8 MB would count against the memory limit."""
KEPT_BUFFERS, KEPT_BYTES = 4, 2 * 1024 * 1024
"""Buffers for bodies that are used again, and the largest that is kept: fresh memory has to be zeroed by the kernel."""


class Queue:
    """Lets one request at a time to the model, in a bounded queue."""

    def __init__(self) -> None:
        self._model = threading.Lock()
        self._lock = threading.Lock()
        self._waiting = 0

    def __call__(self, run: Callable[[], dict[str, Array]], deadline: float | None = None) -> Ran:
        """Return what `run` returns; raise Refused(503) when too many wait, or for too long; 504 beyond `deadline`."""
        began = time.perf_counter()
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise Refused(503, f"{self._waiting} requests wait for the model already: try again")
            self._waiting += 1
        try:
            patience_s = WAIT_S if deadline is None else max(0.0, min(WAIT_S, deadline - time.monotonic()))
            if not self._model.acquire(timeout=patience_s):
                if deadline is not None and time.monotonic() >= deadline:
                    raise _too_late(deadline)
                raise Refused(503, f"the model was busy for {WAIT_S:.0f} s: try again")
        finally:
            with self._lock:
                self._waiting -= 1
        try:
            # It may have been late on arrival.
            if deadline is not None and time.monotonic() >= deadline:
                raise _too_late(deadline)
            started = time.perf_counter()
            results = run()
            return Ran(results, started - began, time.perf_counter() - started)
        except (Refused, MemoryError):
            raise
        except Exception as error:
            raise Refused(500, f"the model failed: {type(error).__name__}: {str(error)[:500]}") from error
        finally:
            self._model.release()


def _too_late(deadline: float) -> Refused:
    late_ms = (time.monotonic() - deadline) * 1e3
    return Refused(504, f"the request was dropped {late_ms:.1f} ms after its deadline: it waited for its turn too long")


@dataclass(eq=False)
class _Guest:
    """One connection."""

    sock: socket.socket
    since: float
    """When it was last seen to do something."""
    state: Literal["silent", "asked"] = "silent"
    """`silent` until a request is whole."""
    begun: bool = False
    """Its thread runs."""
    handed: bool = False
    """It came through the gateway, which can have it back."""
    rest: bytes = b""


class Door:
    """The open connections of a worker."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        answer: Callable[[Request], Response],
        core: Core | None = None,
        *,
        handoff: socket.socket | None = None,
        back: socket.socket | None = None,
        welcome: Callable[[socket.socket], bool] = lambda sock: True,
    ) -> None:
        """core: for the short way by files in memory; None where there is none.

        handoff: where the gateway hands connections over. back: where it takes them back. welcome: says of a Unix
        socket's connection whether its other end may ask.
        """
        self._listeners = [*listeners, *([handoff] if handoff else [])]
        self._answer, self._core, self._welcome = answer, core, welcome
        self._handoff, self._back = handoff, back
        self._lock = threading.Lock()
        self._guests: set[_Guest] = set()
        self._bodies = 0
        self._buffers: list[bytearray] = []
        self._turned_away: list[tuple[float, socket.socket]] = []
        self.closing = False
        threading.stack_size(STACK_BYTES)

    @property
    def listeners(self) -> Sequence[socket.socket]:
        """What connections come from."""
        return self._listeners

    def open(self, selector: selectors.BaseSelector) -> None:
        """Begin to take connections: `selector` yields the listeners, whose data is `take`."""
        self.closing = False
        for listener in self._listeners:
            if listener.fileno() not in selector.get_map():
                selector.register(listener, selectors.EVENT_READ)

    def shut(self, selector: selectors.BaseSelector) -> None:
        """Take no more connections; each open one is closed after its next answer."""
        self.closing = True
        for listener in self._listeners:
            if listener.fileno() in selector.get_map():
                selector.unregister(listener)

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._guests)

    def take(self, listener: socket.socket) -> None:
        """Take one connection from `listener`, unless another worker was faster."""
        rest = b""
        try:
            if listener is self._handoff:
                passed = receive(listener)
                if passed is None:
                    return
                sock, rest = passed
            else:
                sock, _ = listener.accept()
        except OSError:
            return
        guest = _Guest(sock, time.monotonic(), handed=listener is self._handoff, rest=rest)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif not self._welcome(sock):
            self._turn_away(sock, Refused(403, "this process may not ask the models of this device"))
            return
        with self._lock:
            if len(self._guests) >= MAX_CONNECTIONS and not self._give_way(guest.since):
                admitted = False
            else:
                admitted = True
                self._guests.add(guest)
        if not admitted:
            self._turn_away(sock, Refused(503, f"{MAX_CONNECTIONS} connections are open already: try again"))
        elif not self._begin(guest):
            with self._lock:
                self._guests.discard(guest)
            self._turn_away(sock, Refused(503, "no memory for another connection: try again"))

    def _begin(self, guest: _Guest) -> bool:
        """Give `guest` a thread; return whether there was memory for one.

        `threading.Thread.start` waits for the thread to report, and one that dies of memory before it does is waited for
        for ever, by the thread that takes connections.
        """
        for _ in range(2):
            try:
                _thread.start_new_thread(self._serve, (guest,))
                return True
            except (RuntimeError, MemoryError):
                give_back()
        return False

    def _give_way(self, now: float) -> bool:
        """Close the connection that has been silent for longest, if any has been for long enough. Under the lock."""
        silent = [guest for guest in self._guests if guest.state == "silent" and now - guest.since >= SILENT_S]
        if not silent:
            return False
        oldest = min(silent, key=lambda guest: guest.since)
        self._guests.discard(oldest)
        _cut(oldest.sock)
        return True

    def _turn_away(self, sock: socket.socket, why: Refused) -> None:
        """Say why and leave the socket open for a moment, so that the client can read it."""
        try:
            sock.setblocking(False)
            send(sock, refusal(why), keep_alive=False)
            sock.shutdown(socket.SHUT_WR)
        except (Closed, OSError):
            sock.close()
            return
        self._turned_away.append((time.monotonic() + 1.0, sock))

    @property
    def untidy(self) -> bool:
        """Whether something waits to be closed by `tidy`, or may have to be."""
        with self._lock:
            return bool(self._turned_away) or not all(guest.begun for guest in self._guests)

    def tidy(self) -> None:
        """Close what was turned away a moment ago, and guests whose thread died of memory before its first line."""
        now = time.monotonic()
        while self._turned_away and self._turned_away[0][0] < now:
            self._turned_away.pop(0)[1].close()
        with self._lock:
            for guest in [row for row in self._guests if not row.begun and now - row.since >= SILENT_S]:
                self._guests.discard(guest)
                _cut(guest.sock)

    def close_idle(self) -> None:
        """Close every connection on which nothing is asked now. What has come already is still read and answered."""
        with self._lock:
            for guest in self._guests:
                if guest.state == "silent":
                    with contextlib.suppress(OSError):
                        guest.sock.shutdown(socket.SHUT_RD)

    def _serve(self, guest: _Guest) -> None:
        guest.begun = True
        reader = Reader(guest.sock, guest.rest, guest.since + HEAD_S)
        try:
            while reader.wait(IDLE_S):
                guest.since = time.monotonic()
                if not self._exchange(guest, reader):
                    return
                self._silent(guest)
        except Closed:
            pass
        finally:
            with self._lock:
                self._guests.discard(guest)
            guest.sock.close()

    def _silent(self, guest: _Guest) -> None:
        guest.since = time.monotonic()
        guest.state = "silent"

    def _exchange(self, guest: _Guest, reader: Reader) -> bool:
        """Read one request and answer it; return whether another may follow."""
        sock, held = guest.sock, 0
        buffer: bytearray | None = None

        def hold(length: int) -> None:
            nonlocal held
            self._hold(length)
            held += length

        try:
            if guest.handed and self._hand_back(guest, reader):
                return False
            head = reader.head()
            if self._core is not None and sock.family == socket.AF_UNIX and _wants_frames(head, self._core):
                return self._frames(guest, reader, self._core)
            length = body_length(head)
            hold(length or 0)
            if length != 0 and head.headers.get("expect", "").lower() == "100-continue":
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if length is None:
                body = reader.chunked(hold)
            else:
                buffer = self._buffer(length)
                body = memoryview(buffer)[:length]
                reader.body(body)
            guest.state = "asked"
            request = Request(head.method, head.path, head.headers, body, head.keep_alive)
            response = self._answer(request)
            keep = request.keep_alive and not self.closing
            send(sock, response, keep_alive=keep, head_only=head.method == "HEAD")
            if response.after is not None:
                response.after()
            return keep
        except Refused as error:
            # What follows a request that could not be read cannot be told from its rest.
            self._part(guest, error)
            return False
        except MemoryError:
            give_back()
            self._part(guest, Refused(503, "no memory for a request of this size: try again"))
            return False
        finally:
            with self._lock:
                self._bodies -= held
                if buffer is not None and len(buffer) <= KEPT_BYTES and len(self._buffers) < KEPT_BUFFERS:
                    self._buffers.append(buffer)

    def _part(self, guest: _Guest, error: Refused) -> None:
        send(guest.sock, refusal(error), keep_alive=False)
        # It is no guest any more while its last words are read.
        with self._lock:
            self._guests.discard(guest)
        part(guest.sock)

    def _frames(self, guest: _Guest, reader: Reader, core: Core) -> bool:
        """Serve bells until the client goes. Returns False: the connection is no HTTP any more."""
        if reader.rest:
            raise Refused(400, "wait for the answer before the first bell")
        switched = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
        frames = Frames(core, guest.sock, self._hold)
        try:
            guest.sock.sendall(switched.encode())
            self._silent(guest)
            idle_s = HEAD_S
            while (bell := frames.next(idle_s)) is not None:
                guest.state = "asked"
                if not frames.answer(bell, lambda: self.closing):
                    break
                self._silent(guest)
                idle_s = IDLE_S
        except OSError as error:
            raise Closed(str(error)) from error
        finally:
            frames.close()
        return False

    def _hand_back(self, guest: _Guest, reader: Reader) -> bool:
        """Give a connection back to the gateway when what is asked next is for another model; return whether."""
        assert self._core is not None and self._back is not None
        words = reader.line().split(b" ")
        ours = f"/v2/models/{self._core.spec.model}".encode()
        path = words[1].partition(b"?")[0] if len(words) > 1 else b""
        if path == ours or path.startswith((ours + b"/", ANY_WORKER)) or len(reader.rest) > MAX_PASSED:
            return False
        return give(self._back, guest.sock, reader.rest)

    def _buffer(self, length: int) -> bytearray:
        """Return room for a body of `length` bytes or more."""
        if not length:
            return bytearray()
        with self._lock:
            for number, buffer in enumerate(self._buffers):
                if len(buffer) >= length:
                    return self._buffers.pop(number)
        return bytearray(length)

    def _hold(self, length: int) -> None:
        with self._lock:
            if length > 0 and self._bodies + length > MAX_BODIES_BYTES:
                raise Refused(503, "the requests that are being read fill the memory for them: try again")
            self._bodies += length


def _wants_frames(head: Head, core: Core) -> bool:
    return head.headers.get("upgrade", "").lower() == PROTOCOL and head.path == f"/v2/models/{core.spec.model}/frames"


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
