"""Passing an open connection between the gateway and a worker, with what was read of it already.

One message on a socket pair: the bytes, and the connection itself as a descriptor (SCM_RIGHTS). A worker's end outlives
it, as its listening sockets do: between two workers a connection waits in there instead of being refused.
"""

import contextlib
import os
import socket

ANY_WORKER = b"/v2/systemsharedmemory"
"""Paths below this are every worker's: the regions are those of the device."""
MAX_PASSED = 64 * 1024
"""Bytes that were read already and go with a connection."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends, neither of which ever waits."""
    giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    giving.setblocking(False)
    taking.setblocking(False)
    return giving, taking


def give(end: socket.socket, connection: socket.socket, read: bytes) -> bool:
    """Hand `connection` over and return True; False when nobody takes any now. The caller's copy stays its own."""
    try:
        # A message needs a byte to carry a descriptor.
        socket.send_fds(end, [b"+" + read], [connection.fileno()])
    except OSError:
        return False
    return True


def receive(end: socket.socket) -> tuple[socket.socket, bytes] | None:
    """Return the next connection with what was read of it, or None when none came.

    Raises BlockingIOError when there is nothing, and another OSError when nothing will ever come here again.

    What a worker sends is not believed: a descriptor that is no socket is closed, or a worker could use up the agent's.
    """
    data, descriptors, _, _ = socket.recv_fds(end, MAX_PASSED + 1, 1)
    if not data and not descriptors:
        raise ConnectionResetError("the other end was shut")
    if len(descriptors) == 1:
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptors[0], False)
            return socket.socket(fileno=descriptors[0]), data[1:]
    for number in descriptors:
        with contextlib.suppress(OSError):
            os.close(number)
    return None
