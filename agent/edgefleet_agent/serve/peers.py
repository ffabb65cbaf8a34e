"""Who is at the other end of a Unix socket, as the kernel says it, and whether it may ask."""

import socket
import struct
from collections.abc import Sequence

_SO_PEERGROUPS = 59
"""Not named by Python; linux/include/uapi/asm-generic/socket.h."""
_MAX_GROUPS = 1024


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
            groups = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MAX_GROUPS)
        except OSError:
            return False
        return uid in self._uids or bool(self._gids & {gid, *struct.unpack(f"={len(groups) // 4}I", groups)})
