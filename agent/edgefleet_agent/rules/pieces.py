"""A long answer cut into pieces that a broker carries. Pure."""

import zlib

from edgefleet_protocol.messages import MAX_ANSWER_BYTES, MAX_PIECE_BYTES, MAX_PIECES

CUT = "[the beginning was cut off: the answer is longer than one may be]\n"


def cut(text: str) -> list[bytes]:
    """Return the pieces of `text`, compressed as a whole; of one that is too long, those of its end. None for no text."""
    if not text:
        return []
    data = text.encode("utf-8", "replace")
    room = MAX_ANSWER_BYTES - len(CUT)
    while True:
        whole = data if len(data) <= room else CUT.encode() + data[-room:]
        packed = zlib.compress(whole, 6)
        if len(packed) <= MAX_PIECE_BYTES * MAX_PIECES:
            return [packed[at : at + MAX_PIECE_BYTES] for at in range(0, len(packed), MAX_PIECE_BYTES)]
        room = min(room, len(data)) // 2
