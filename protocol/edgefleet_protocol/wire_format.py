"""Protocol Buffers' wire format, just enough to walk an ONNX file without trusting it or importing onnx.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from typing import NamedTuple

from .errors import BadModel

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELD_NUMBER = 2**29 - 1


class Field(NamedTuple):
    """A field of a message: its number, wire type, value, and where its bytes lie in the buffer."""

    number: int
    wire: int
    value: int
    """The number of a varint; for BYTES the length."""
    start: int
    """First byte of the payload, an offset into the whole buffer."""
    end: int


def fields(data: memoryview, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in data[start:end]; raise BadModel where it is cut short or malformed."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        # C++ readers keep 32 bits of a tag: a field beyond would be unknown here and a known one to the runtime.
        if not 0 < number <= MAX_FIELD_NUMBER:
            raise BadModel(f"field number {number} at byte {at}")
        if wire == VARINT:
            begin = at
            value, at = _varint(data, at, end)
            yield Field(number, wire, value, begin, at)
        elif wire == BYTES:
            length, at = _varint(data, at, end)
            if length > end - at:
                raise BadModel(f"field {number} at byte {at} says {length} bytes and {end - at} are left")
            yield Field(number, wire, length, at, at + length)
            at += length
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
            if size > end - at:
                raise BadModel(f"field {number} at byte {at} is cut short")
            yield Field(number, wire, int.from_bytes(data[at : at + size], "little"), at, at + size)
            at += size
        else:
            raise BadModel(f"field {number} at byte {at} has wire type {wire}")


def packed_or_single(data: memoryview, field: Field) -> Iterator[int]:
    """Yield the numbers of a repeated integer field, packed or not."""
    if field.wire == VARINT:
        yield field.value
        return
    at = field.start
    while at < field.end:
        value, at = _varint(data, at, field.end)
        yield value


def signed64(value: int) -> int:
    """Return a varint's value as the int64 that it encodes."""
    return value - 2**64 if value >= 2**63 else value


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end:
            raise BadModel(f"a number at byte {at} is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
        shift += 7
        if shift > 63:
            raise BadModel(f"a number at byte {at} is longer than 64 bits")
