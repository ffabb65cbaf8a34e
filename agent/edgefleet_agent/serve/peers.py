"""Who is at the other end of a Unix socket, as the kernel says it, and whether it may ask."""

import socket
import struct
from collections.abc import Sequence

_SO_PEERGROUPS = 59
"""Not named by Python; linux/include/uapi/asm-generic/socket.h."""
_MAX_BYTES = 1024
"""All that Python's getsockopt takes."""


class Peers:
    """Lets in whose user or one of whose groups is named; everybody where none is."""

    def __init__(self, uids: Sequence[int], gids: Sequence[int]) -> None:
        self._uids, self._gids = frozenset(uids), frozenset(gids)

    def welcome(self, sock: socket.socket) -> bool:
        """Return whether the process that connected `sock` may ask."""
        if not self._uids and not self._gids:
            return True
        try:
            _, uid, gid = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return False
        return uid in self._uids or bool(self._gids & {gid, *_groups(sock)})


def _groups(sock: socket.socket) -> tuple[int, ...]:
    """Return the peer's further groups; none where it has more than 256 or the kernel (before 4.13) does not say."""
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"={len(data) // 4}I", data)
