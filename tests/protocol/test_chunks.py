"""Cutting and joining, packing and unpacking, and every payload that is not what its name says."""

import os
import subprocess
import sys

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edgefleet_protocol.chunks import (
    MAX_CHUNK_BYTES,
    MAX_PAYLOAD_BYTES,
    RAW,
    SMALL_TENSOR_BYTES,
    ZSTD,
    cut,
    cut_file,
    pack,
    tensor_boundaries,
    unpack,
)
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.errors import BadChunk
from edgefleet_protocol.manifest import Chunk
from tests.protocol.wire import graph, model, node, tensor

SIZES = st.sampled_from((0, 1, 100, MAX_CHUNK_BYTES - 1, MAX_CHUNK_BYTES, MAX_CHUNK_BYTES + 1, 3 * MAX_CHUNK_BYTES + 7))


@given(SIZES, st.lists(st.integers(-5, 4 * MAX_CHUNK_BYTES), max_size=10))
def test_what_was_cut_joins_to_the_same_bytes(size, boundaries):
    data = os.urandom(size)
    pieces = list(cut(data, boundaries))
    assert b"".join(pieces) == data
    assert all(1 <= len(piece) <= MAX_CHUNK_BYTES for piece in pieces)


@given(st.integers(1, 3 * MAX_CHUNK_BYTES), st.lists(st.integers(0, 3 * MAX_CHUNK_BYTES), max_size=5))
def test_a_piece_begins_at_every_boundary(size, boundaries):
    starts, at = set(), 0
    for piece in cut(bytes(size), boundaries):
        starts.add(at)
        at += len(piece)
    assert {offset for offset in boundaries if offset < size} <= starts


def test_an_empty_file_has_no_chunks():
    assert cut_file("empty.f32", b"") == []
    assert cut_file("empty.onnx", b"") == []


COMPRESSIBLE = st.builds(lambda seed, count: seed * count, st.binary(min_size=1, max_size=8), st.integers(1, 7000))


@given(st.one_of(st.binary(max_size=3000), COMPRESSIBLE))
def test_what_was_packed_comes_back(piece):
    chunk, payload = pack(piece)
    assert unpack(payload, chunk) == piece
    assert (chunk.sha256, chunk.bytes, chunk.wire_bytes) == (sha256_hex(piece), len(piece), len(payload))
    assert len(payload) <= len(piece) + 1


def test_the_smaller_encoding_travels():
    assert pack(b"a" * 1000)[1][0] == ZSTD
    assert pack(os.urandom(1000))[1][0] == RAW


@pytest.mark.parametrize("content", (bytes(MAX_CHUNK_BYTES), os.urandom(MAX_CHUNK_BYTES)), ids=("zeros", "random"))
def test_a_full_piece_fits_the_broker(content):
    chunk, payload = pack(content)
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert unpack(payload, chunk) == content


def test_a_piece_that_is_too_long_is_refused():
    with pytest.raises(BadChunk, match="61440 bytes; cut it to 61439"):
        pack(bytes(MAX_CHUNK_BYTES + 1))


PIECES = {"raw": os.urandom(400), "zstd": b"the quick brown fox " * 100}


@settings(max_examples=200)
@given(st.sampled_from(sorted(PIECES)), st.data())
def test_any_altered_payload_is_refused(name, draw):
    piece = PIECES[name]
    chunk, payload = pack(piece)
    altered = bytearray(payload)
    kind = draw.draw(st.sampled_from(("flip", "cut", "grow", "insert")))
    at = draw.draw(st.integers(0, len(payload) - 1))
    if kind == "flip":
        altered[at] ^= 1 << draw.draw(st.integers(0, 7))
    elif kind == "cut":
        del altered[at:]
    elif kind == "grow":
        altered += draw.draw(st.binary(min_size=1, max_size=50))
    else:
        altered[at:at] = draw.draw(st.binary(min_size=1, max_size=5).filter(lambda some: payload[at : at + 5] != some))
    try:
        came = unpack(bytes(altered), chunk)
    except BadChunk as error:
        assert chunk.sha256[:12] in str(error)
    else:
        # Bits of a zstd frame's header that say nothing of the content may differ; the content never does.
        assert came == piece


@pytest.mark.parametrize("name", sorted(PIECES))
def test_a_payload_with_something_behind_it_is_refused(name):
    chunk, payload = pack(PIECES[name])
    for more in (b"\0", payload, zstd.compress(b""), zstd.compress(b"more")):
        with pytest.raises(BadChunk):
            unpack(payload + more, chunk)


def bomb(size: int) -> bytes:
    return bytes([ZSTD]) + zstd.compress(bytes(size), 19)


WRONG = {
    "empty": (b"", "a payload of 0 bytes"),
    "too long for the broker": (bytes(MAX_PAYLOAD_BYTES + 1), "a payload of 61441 bytes"),
    "no body": (bytes([ZSTD]), "bytes or more"),
    "unknown encoding": (b"\x02" + bytes(100), "encoding 2"),
    "not zstd": (bytes([ZSTD]) + b"garbage garbage", "not zstd"),
    "shorter": (bytes([RAW]) + bytes(99), "99 bytes or more"),
    "longer": (bytes([RAW]) + bytes(101), "101 bytes or more"),
    "other bytes": (bytes([RAW]) + b"x" * 100, "its bytes have the digest"),
    "other bytes in zstd": (bytes([ZSTD]) + zstd.compress(b"x" * 100), "its bytes have the digest"),
    "a bomb": (bomb(8 << 20), "bytes or more|too much memory"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_payload_that_is_not_its_chunk_is_refused_with_its_reason(case):
    payload, words = WRONG[case]
    chunk, _ = pack(bytes(100))
    with pytest.raises(BadChunk, match=words):
        unpack(payload, chunk)


def test_a_manifest_that_asks_for_more_than_a_chunk_is_refused():
    chunk, payload = pack(bytes(100))
    with pytest.raises(BadChunk, match="the limit is 61440"):
        unpack(payload, replace(chunk, bytes=MAX_CHUNK_BYTES + 1))


def test_a_bomb_takes_no_memory(tmp_path):
    # In a process of its own, whose address space leaves no room for what the frames claim: 512 MiB of content, and a
    # window of 128 MiB around a thousand bytes. Both must be refused for what they are.
    content = bytes([ZSTD]) + zstd.compress(bytes(512 << 20), 3)[:60_000]
    wide = zstd.ZstdCompressor(
        options={zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    )
    window = bytes([ZSTD]) + wide.compress(bytes(1000)) + wide.flush()
    (tmp_path / "content").write_bytes(content)
    (tmp_path / "window").write_bytes(window)
    program = """
import resource, sys
from pathlib import Path
from edgefleet_protocol.chunks import MAX_CHUNK_BYTES, unpack
from edgefleet_protocol.errors import BadChunk
from edgefleet_protocol.manifest import Chunk
chunk = Chunk(sha256="0" * 64, bytes=MAX_CHUNK_BYTES, wire_bytes=1)
payloads = [Path(name).read_bytes() for name in sys.argv[1:]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for payload in payloads:
    for _ in range(20):
        try:
            unpack(payload, chunk)
        except BadChunk:
            pass
        else:
            sys.exit("unpacked")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "content"), str(tmp_path / "window")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4_000  # KiB


def test_a_frame_that_asks_for_a_wide_window_is_refused():
    wide = zstd.ZstdCompressor(
        options={zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    )
    payload = bytes([ZSTD]) + wide.compress(bytes(1000)) + wide.flush()
    with pytest.raises(BadChunk, match="too much memory"):
        unpack(payload, Chunk(sha256=sha256_hex(bytes(1000)), bytes=1000, wire_bytes=len(payload)))


LARGE, OTHER = os.urandom(SMALL_TENSOR_BYTES * 6), os.urandom(SMALL_TENSOR_BYTES)


def network(first: bytes, *, small: bytes = b"1234", nodes: int = 3, last: bytes = OTHER) -> bytes:
    tensors = (
        tensor(len(first), raw=first, data_type=3, name="first"),
        tensor(4, raw=small, data_type=3, name="bias"),
        tensor(4, raw=small[::-1], data_type=3, name="scale"),
        tensor(len(last), raw=last, data_type=3, name="last"),
    )
    return model(graph(*[node("Relu")] * nodes, tensors=tensors))


def digests(data: bytes) -> list[str]:
    return [chunk.sha256 for chunk, _ in cut_file("model.onnx", data)]


def test_a_tensor_that_did_not_change_keeps_its_chunks():
    before = set(digests(network(LARGE)))
    # The graph grew, a small tensor changed, and the last large one too: the first keeps both of its chunks.
    after = set(digests(network(LARGE, small=b"4321", nodes=30, last=os.urandom(len(OTHER)))))
    pieces = {sha256_hex(piece) for piece in cut(LARGE)}
    assert len(pieces) == 2
    assert pieces <= before & after
    assert len(before & after) == 3  # and the few bytes behind the last tensor


def test_small_tensors_share_a_chunk():
    assert len(digests(network(LARGE))) == 6  # the graph; the first in two; what lies between; the last; the end


def test_the_boundaries_are_those_of_the_large_tensors():
    data = network(LARGE)
    start, end, start_of_last, end_of_last = tensor_boundaries(data)
    assert data[start:end] == LARGE
    assert data[start_of_last:end_of_last] == OTHER


def test_external_data_does_not_hinder_cutting():
    outside = tensor(4, outside={"location": "weights.bin", "offset": "0", "length": "16"})
    data = model(graph(node("Relu"), tensors=(outside, tensor(len(OTHER), raw=OTHER, data_type=3))))
    assert len(tensor_boundaries(data)) == 2


@given(st.binary(max_size=2000))
def test_a_file_that_is_no_model_is_cut_all_the_same(data):
    pieces = [unpack(payload, chunk) for chunk, payload in cut_file("model.onnx", data)]
    assert b"".join(pieces) == data
