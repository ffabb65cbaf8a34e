"""No new sockets: how the network is dropped where the system forbids user namespaces (Ubuntu since 23.10, some kernels).

A process that cannot call `socket` keeps those that it inherited and accepts on, and can open none to the outside.
Format of filters: linux/Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import errno
import os
import struct
import sys
from dataclasses import dataclass

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_KILL = 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
"""Offsets in what the kernel hands to a filter."""


@dataclass(frozen=True)
class _Calls:
    audit: int
    forbidden: tuple[int, ...]
    """socket, connect, io_uring_setup (which opens sockets without the calls for it)."""


_MACHINES = {
    "x86_64": _Calls(0xC000003E, (41, 42, 425)),
    "aarch64": _Calls(0xC00000B7, (198, 203, 425)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_sockets() -> str | None:
    """Forbid this process and its children to open sockets, for ever. Returns None when that holds, else why not.

    The process must have given up new privileges before.
    """
    calls = _MACHINES.get(os.uname().machine)
    if calls is None or sys.maxsize < 2**32:
        return f"none: the numbers of system calls are not known for {os.uname().machine}"
    code = assemble(calls.audit, calls.forbidden)
    program = _Program(len(code) // 8, code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(ctypes.c_int(_PR_SET_SECCOMP), ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program)) == 0:
        return None
    return f"none: seccomp says {os.strerror(ctypes.get_errno())}"


def assemble(audit: int, forbidden: tuple[int, ...]) -> bytes:
    """Return the filter: another architecture's calls kill, the forbidden ones get EPERM, all else passes."""
    end = len(forbidden) + 1
    """Instructions from the first comparison of a call to the refusal, which lies behind the permission."""
    return b"".join(
        [
            _instruction(_LOAD, value=_ARCHITECTURE),
            _instruction(_EQUAL, value=audit, jump_true=1),
            _instruction(_RETURN, value=_KILL),
            _instruction(_LOAD, value=_NUMBER),
            # x86 has a second set of numbers for the same calls, from here on.
            _instruction(_AT_LEAST, value=0x40000000, jump_true=end),
            *(_instruction(_EQUAL, value=number, jump_true=end - 1 - place) for place, number in enumerate(forbidden)),
            _instruction(_RETURN, value=_ALLOW),
            _instruction(_RETURN, value=_REFUSE),
        ]
    )


def _instruction(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, value)
