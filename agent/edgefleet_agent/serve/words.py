"""JSON from a client, read so that its nesting cannot end the process.

msgspec calls itself for each level. From Python 3.12 on its limit is that of C code, about ten thousand levels, which is
more than the stack of a connection's thread holds: the process would be killed where a refusal is due.
"""

import re
from typing import Any

import msgspec

from .errors import Refused

MAX_LEVELS = 256
"""A tensor has at most a few dimensions; a thread's stack holds some thousand levels."""
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def decode(data: bytes | memoryview, what: str) -> Any:
    """Return the JSON in `data`; raise Refused, with `what` it should have been, for anything else."""
    if too_deep(data):
        raise Refused(400, f"{what} is not JSON that is read here: it is nested more than {MAX_LEVELS} deep")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"{what} is not JSON: {error}") from error


def too_deep(data: bytes | memoryview) -> bool:
    """Return whether arrays and objects may lie more than about MAX_LEVELS deep within each other in `data`."""
    raw = bytes(data)
    if raw.count(b"[") + raw.count(b"{") <= MAX_LEVELS:
        return False
    left = _STRING.sub(b"", raw).translate(None, _ALL_BUT_BRACKETS)
    # Each round takes the innermost level away; what is left is deeper than the rounds made.
    for _ in range(MAX_LEVELS):
        inner = left.replace(b"[]", b"").replace(b"{}", b"")
        if len(inner) <= MAX_LEVELS:
            return False
        if len(inner) == len(left):
            return True
        left = inner
    return True
