"""Who is let in: takes connections from the shared sockets, a bounded number of threads, a bounded queue for the model.

A switch loses nothing: on `pause` no connection is taken any more, what is asked on those that are open is answered,
and the answer says `Connection: close`, so that the client comes back to the worker that took over.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence

from .errors import Refused
from .http import Closed, Reader, Request, Response, body_length, part, send
from .oip import refusal
from .runtime import Array

MAX_CONNECTIONS = 64
MAX_WAITING = 32
"""Requests that wait for the model. One runs at a time: that is how its memory and latency were tried."""
WAIT_S = 30.0
IDLE_S = 300.0
MAX_BODIES_BYTES = 96 * 1024 * 1024
"""All bodies that are in memory at a time."""
STACK_BYTES = 1024 * 1024
"""Of a connection's thread, in which the runtime computes; the default of 8 MB would count against the memory limit."""


class Queue:
    """Lets one request at a time to the model, in a bounded queue."""

    def __init__(self) -> None:
        self._model = threading.Lock()
        self._lock = threading.Lock()
        self._waiting = 0

    def __call__(self, run: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """Return what `run` returns; raise Refused(503) when too many wait, or for too long."""
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise Refused(503, f"{self._waiting} requests wait for the model already: try again")
            self._waiting += 1
        try:
            if not self._model.acquire(timeout=WAIT_S):
                raise Refused(503, f"the model was busy for {WAIT_S:.0f} s: try again")
        finally:
            with self._lock:
                self._waiting -= 1
        try:
            return run()
        except Refused:
            raise
        except MemoryError:
            raise
        except Exception as error:
            raise Refused(500, f"the model failed: {type(error).__name__}: {str(error)[:500]}") from error
        finally:
            self._model.release()


class Door:
    """The open connections of a worker."""

    def __init__(self, listeners: Sequence[socket.socket], answer: Callable[[Request], Response]) -> None:
        self._listeners = listeners
        self._answer = answer
        self._lock = threading.Lock()
        self._idle: set[socket.socket] = set()
        self._busy: set[socket.socket] = set()
        self._bodies = 0
        self._turned_away: list[tuple[float, socket.socket]] = []
        self.closing = False
        threading.stack_size(STACK_BYTES)

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
            return len(self._idle) + len(self._busy)

    def take(self, listener: socket.socket) -> None:
        """Take one connection from `listener`, unless another worker was faster."""
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.connections >= MAX_CONNECTIONS:
            self._turn_away(sock)
            return
        with self._lock:
            self._idle.add(sock)
        try:
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
        except (RuntimeError, MemoryError):  # no memory for another stack
            with self._lock:
                self._idle.discard(sock)
            self._turn_away(sock)

    def _turn_away(self, sock: socket.socket) -> None:
        """Say 503 and leave the socket open for a moment, so that the client can read it."""
        try:
            response = refusal(Refused(503, f"{MAX_CONNECTIONS} connections are open already: try again"))
            sock.setblocking(False)
            send(sock, response, keep_alive=False)
            sock.shutdown(socket.SHUT_WR)
        except (Closed, OSError):
            sock.close()
            return
        self._turned_away.append((time.monotonic() + 1.0, sock))

    @property
    def untidy(self) -> bool:
        """Whether something turned away waits to be closed."""
        return bool(self._turned_away)

    def tidy(self) -> None:
        """Close what was turned away a moment ago."""
        now = time.monotonic()
        while self._turned_away and self._turned_away[0][0] < now:
            self._turned_away.pop(0)[1].close()

    def close_idle(self) -> None:
        """Close every connection on which nothing is asked now."""
        with self._lock:
            for sock in self._idle:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def _serve(self, sock: socket.socket) -> None:
        reader = Reader(sock)
        try:
            while reader.wait(IDLE_S):
                with self._lock:
                    self._idle.discard(sock)
                    self._busy.add(sock)
                if not self._exchange(sock, reader):
                    return
                with self._lock:
                    self._busy.discard(sock)
                    self._idle.add(sock)
        except Closed:
            pass
        finally:
            with self._lock:
                self._idle.discard(sock)
                self._busy.discard(sock)
            sock.close()

    def _exchange(self, sock: socket.socket, reader: Reader) -> bool:
        """Read one request and answer it; return whether another may follow."""
        held = 0
        try:
            head = reader.head()
            length = body_length(head)
            self._hold(length)
            held = length
            if length and head.headers.get("expect", "").lower() == "100-continue":
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = reader.body(length)
            request = Request(head.method, head.path, head.headers, body, head.keep_alive)
            response = self._answer(request)
            keep = request.keep_alive and not self.closing
            send(sock, response, keep_alive=keep, head_only=head.method == "HEAD")
            return keep
        except Refused as error:
            # What follows a request that could not be read cannot be told from its rest.
            send(sock, refusal(error), keep_alive=False)
            part(sock)
            return False
        except MemoryError:
            send(sock, refusal(Refused(503, "no memory for a request of this size: try again")), keep_alive=False)
            part(sock)
            return False
        finally:
            with self._lock:
                self._bodies -= held

    def _hold(self, length: int) -> None:
        with self._lock:
            if self._bodies + length > MAX_BODIES_BYTES:
                raise Refused(503, "the requests that are being read fill the memory for them: try again")
            self._bodies += length
