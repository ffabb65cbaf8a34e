"""MQTT 3.1.1 packets as bytes: the few that a device sends and gets. Pure.

Source: OASIS, MQTT Version 3.1.1, sections 2 and 3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CONNACK, PUBLISH, PUBACK = 2, 3, 4
PING = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
MAX_PACKET_BYTES = 2_000_000


class BadPacket(Exception):
    """The broker sent something that is no packet; the connection is of no more use."""


@dataclass(frozen=True)
class Packet:
    """One packet. `flags` are the low four bits of its first byte."""

    kind: int
    flags: int
    body: bytes


@dataclass(frozen=True)
class Publication:
    """What a PUBLISH carries. `number` is 0 with QoS 0."""

    topic: str
    payload: bytes
    number: int


def connect(client: str, keepalive_s: int, will_topic: str, will: bytes) -> bytes:
    """Return a CONNECT with a persistent session and a retained last will of QoS 1."""
    flags = 0x04 | 0x08 | 0x20  # will, its QoS 1, its retain; not clean
    body = _text("MQTT") + bytes((4, flags)) + keepalive_s.to_bytes(2, "big")
    return _packet(0x10, body + _text(client) + _text(will_topic) + len(will).to_bytes(2, "big") + will)


def publish(topic: str, payload: bytes, number: int, *, retain: bool) -> bytes:
    """Return a PUBLISH: of QoS 1 when it has a number, else of QoS 0."""
    first = 0x30 | (0x02 if number else 0) | (0x01 if retain else 0)
    return _packet(first, _text(topic) + (number.to_bytes(2, "big") if number else b"") + payload)


def puback(number: int) -> bytes:
    """Return the answer to a PUBLISH of QoS 1."""
    return b"\x40\x02" + number.to_bytes(2, "big")


def subscribe(number: int, topics: Sequence[str], qos: int) -> bytes:
    """Return a SUBSCRIBE."""
    return _packet(0x82, number.to_bytes(2, "big") + b"".join(_text(row) + bytes((qos,)) for row in topics))


def unsubscribe(number: int, topics: Sequence[str]) -> bytes:
    """Return an UNSUBSCRIBE."""
    return _packet(0xA2, number.to_bytes(2, "big") + b"".join(map(_text, topics)))


def cut(data: bytearray) -> Iterable[Packet]:
    """Take every whole packet from the front of `data`."""
    at = 0
    try:
        while True:
            length, shift, head = 0, 0, at + 1
            while True:
                if head >= len(data):
                    return
                byte = data[head]
                head += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
                if shift > 21:
                    raise BadPacket("a length of more than four bytes")
            if length > MAX_PACKET_BYTES:
                raise BadPacket(f"a packet of {length} bytes")
            if head + length > len(data):
                return
            packet = Packet(data[at] >> 4, data[at] & 0x0F, bytes(data[head : head + length]))
            at = head + length
            yield packet
    finally:
        del data[:at]


def publication(packet: Packet) -> Publication:
    """Return what a PUBLISH carries."""
    end = 2 + int.from_bytes(packet.body[:2], "big")
    topic = packet.body[2:end].decode()
    if not packet.flags & 0x06:
        return Publication(topic, packet.body[end:], 0)
    return Publication(topic, packet.body[end + 2 :], int.from_bytes(packet.body[end : end + 2], "big"))


def _text(words: str) -> bytes:
    data = words.encode()
    return len(data).to_bytes(2, "big") + data


def _packet(first: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, byte = left >> 7, left & 0x7F
        length.append(byte | (0x80 if left else 0))
        if not left:
            return bytes((first,)) + bytes(length) + body
