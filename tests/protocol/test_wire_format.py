"""Walking Protocol Buffers' wire format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.errors import BadModel
from edgefleet_protocol.wire_format import BYTES, FIXED32, FIXED64, VARINT, fields, packed_or_single, signed64
from tests.protocol.wire import block, number, varint


def walk(data: bytes) -> list[tuple[int, int, int]]:
    return [(item.number, item.wire, item.value) for item in fields(memoryview(data), 0, len(data))]


def test_each_wire_type_is_read():
    data = number(1, 300) + block(2, b"abc") + b"\x1d" + (7).to_bytes(4, "little") + b"\x21" + (9).to_bytes(8, "little")
    assert walk(data) == [(1, VARINT, 300), (2, BYTES, 3), (3, FIXED32, 7), (4, FIXED64, 9)]


def test_a_payload_is_found_where_it_lies_in_the_whole_buffer():
    data = b"xx" + block(5, b"abc")
    (item,) = fields(memoryview(data), 2, len(data))
    assert data[item.start : item.end] == b"abc"


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_signed_number_comes_back(value):
    data = number(3, value)
    ((_, _, read),) = walk(data)
    assert signed64(read) == value


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_numbers_packed_or_not_are_the_same(values):
    packed = block(1, b"".join(varint(value) for value in values))
    (item,) = fields(memoryview(packed), 0, len(packed))
    assert list(packed_or_single(memoryview(packed), item)) == values
    single = b"".join(number(1, value) for value in values)
    view = memoryview(single)
    assert [n for item in fields(view, 0, len(single)) for n in packed_or_single(view, item)] == values


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=20)), min_size=1), st.data())
def test_a_message_cut_anywhere_inside_a_field_is_refused_or_shorter(pieces, draw):
    whole = [block(*piece) for piece in pieces]
    data = b"".join(whole)
    at = draw.draw(st.integers(0, len(data) - 1))
    ends = {len(b"".join(whole[:count])) for count in range(len(whole))}
    if at in ends:
        assert len(walk(data[:at])) < len(pieces)
    else:
        with pytest.raises(BadModel):
            walk(data[:at])


@pytest.mark.parametrize("bits", (1 << 32, 1 << 34, 1 << 35, 1 << 60))
def test_a_tag_beyond_32_bits_is_refused(bits):
    with pytest.raises(BadModel, match="field number"):
        walk(block(5, b"", tag_bits=bits))
