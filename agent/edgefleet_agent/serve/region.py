"""A file in memory that a client handed over: what it must be, so that no client can end a worker through it.

A page of a mapping that its file no longer has ends whoever reads it (SIGBUS). Only a memfd can promise that this never
happens: with F_SEAL_SHRINK the kernel refuses to make it smaller, for ever and for everybody. Files, devices, sockets and
pipes have no seals. Huge pages are refused too: those that a hole was punched into can be lacking when they are read.
"""

import fcntl
import mmap
import os

from .errors import Refused

MAX_REGION_BYTES = 64 * 1024 * 1024
ALIGNMENT = 64
"""Of each tensor: a runtime would copy what lies less evenly."""

# Not named by Python 3.10 on every build; linux/include/uapi/linux/fcntl.h.
_F_GET_SEALS = 1034
_F_SEAL_SHRINK = 2


def open_region(descriptor: int, size: int) -> mmap.mmap:
    """Return the first `size` bytes of the memfd `descriptor`, shared with its owner; raise Refused for anything else."""
    if not 0 < size <= MAX_REGION_BYTES:
        raise Refused(413, f"the file in memory has {size} bytes and may have 1 to {MAX_REGION_BYTES}")
    try:
        seals = fcntl.fcntl(descriptor, _F_GET_SEALS)
    except OSError as error:
        raise Refused(400, "what was handed over is no memfd that can be sealed") from error
    if not seals & _F_SEAL_SHRINK:
        raise Refused(400, "the memfd is not sealed against shrinking: add F_SEAL_SHRINK before it is handed over")
    if os.fstatvfs(descriptor).f_bsize != mmap.PAGESIZE:
        raise Refused(400, "the memfd has huge pages, which are not supported")
    # After the seal was seen: from then on it can only grow.
    found = os.fstat(descriptor).st_size
    if found < size:
        raise Refused(400, f"the memfd has {found} bytes and {size} were said")
    try:
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    except (OSError, ValueError) as error:
        raise Refused(400, f"the memfd cannot be mapped: {error}") from error
