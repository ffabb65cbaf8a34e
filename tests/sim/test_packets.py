"""The few MQTT packets of a virtual device: what is cut out of a stream is what was put in, however it was torn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_sim import packets


@given(
    st.lists(
        st.tuples(st.text("abc/", min_size=1, max_size=20), st.binary(max_size=400), st.integers(0, 65535)), max_size=8
    ),
    st.integers(1, 50),
)
def test_a_stream_torn_anywhere_gives_the_same_publications(rows, piece):
    stream = b"".join(packets.publish(topic, payload, number, retain=False) for topic, payload, number in rows)
    held, found = bytearray(), []
    for at in range(0, len(stream), piece):
        held += stream[at : at + piece]
        found += [packets.publication(packet) for packet in packets.cut(held)]
    assert [(row.topic, row.payload, row.number) for row in found] == rows
    assert not held


def test_a_length_beyond_every_packet_ends_the_connection():
    with pytest.raises(packets.BadPacket):
        list(packets.cut(bytearray(b"\x30\xff\xff\xff\x7f")))


def test_a_will_is_retained_and_the_session_lasts():
    (packet,) = packets.cut(bytearray(packets.connect("sim-1", 60, "a/presence", b"gone")))
    flags = packet.body[7]
    assert flags & 0x24 == 0x24
    assert not flags & 0x02
    assert packet.body.endswith(b"\x00\x04gone")
