"""Cutting files into chunks and back.

A chunk's payload on the wire is one byte that names its encoding, then the encoded bytes; the whole is at most 60 KiB,
which every broker in use carries as a retained message. Its name is the SHA-256 of its plain bytes, so an encoding can
change without a new name. Files are cut at the boundaries of their tensors: small ones are packed together, large ones
start a chunk of their own, so that a tensor that did not change keeps its chunks in the next release.
"""

from collections.abc import Iterable, Iterator

from backports import zstd

from .codec import sha256_hex
from .errors import BadChunk, BadModel
from .manifest import Chunk
from .onnx_guard import guard

MAX_PAYLOAD_BYTES = 60 * 1024
MAX_CHUNK_BYTES = MAX_PAYLOAD_BYTES - 1
"""Plain bytes: room for the encoding's byte when they do not compress."""
SMALL_TENSOR_BYTES = 16 * 1024
"""Smaller tensors are packed with their neighbours: a chunk costs about 200 bytes of topic and manifest."""

RAW, ZSTD = 0, 1
ZSTD_LEVEL = 19
_WINDOW_LOG_MAX = 17
"""128 KiB, twice a chunk: a frame that asks for a larger window (up to 128 MiB by default) gets no memory."""


def cut(data: bytes, boundaries: Iterable[int] = ()) -> Iterator[bytes]:
    """Yield pieces of `data`, each of at most MAX_CHUNK_BYTES, that make it up in order.

    boundaries: offsets at which a piece should begin, as `tensor_boundaries` gives them.
    """
    starts = sorted({0, *(offset for offset in boundaries if 0 < offset < len(data))})
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        for at in range(start, end, MAX_CHUNK_BYTES):
            yield data[at : min(at + MAX_CHUNK_BYTES, end)]


def tensor_boundaries(model: bytes) -> tuple[int, ...]:
    """Return where chunks of the ONNX file `model` should begin; none when it cannot be walked.

    Around each large tensor; small ones, and the graph between them, share chunks.
    """
    try:
        tensors = guard(model, _AnyFile()).tensors
    except BadModel:
        return ()
    offsets: list[int] = []
    for start, end in tensors:
        if end - start >= SMALL_TENSOR_BYTES:
            offsets += [start, end]
    return tuple(offsets)


class _AnyFile(dict[str, int]):
    """For cutting, where external data may be anything: the guard proper has run or will."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> int:
        return 2**62


def pack(piece: bytes) -> tuple[Chunk, bytes]:
    """Return the chunk that names `piece`, and its payload in the smallest encoding."""
    if len(piece) > MAX_CHUNK_BYTES:
        raise BadChunk(f"a piece of {len(piece)} bytes; cut it to {MAX_CHUNK_BYTES}")
    packed = zstd.compress(piece, ZSTD_LEVEL)
    payload = bytes([ZSTD]) + packed if len(packed) < len(piece) else bytes([RAW]) + piece
    return Chunk(sha256=sha256_hex(piece), bytes=len(piece), wire_bytes=len(payload)), payload


def unpack(payload: bytes, chunk: Chunk) -> bytes:
    """Return the plain bytes of `payload`, which are what `chunk` names; raise BadChunk otherwise.

    Nothing longer than the chunk's signed size is ever decompressed, whatever the frame's header claims.
    """
    short = chunk.sha256[:12]
    if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES or chunk.bytes > MAX_CHUNK_BYTES:
        raise BadChunk(
            f"chunk {short}: a payload of {len(payload)} bytes for {chunk.bytes}; the limit is {MAX_PAYLOAD_BYTES}"
        )
    encoding, body = payload[0], payload[1:]
    if encoding == RAW:
        piece = body
    elif encoding == ZSTD:
        decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})
        try:
            piece = decompressor.decompress(body, max_length=chunk.bytes + 1)
        except zstd.ZstdError as error:
            raise BadChunk(f"chunk {short}: not zstd: {error}") from error
        if len(piece) == chunk.bytes and (not decompressor.eof or decompressor.unused_data):
            raise BadChunk(f"chunk {short}: its zstd frame is cut short or something follows it")
    else:
        raise BadChunk(f"chunk {short}: encoding {encoding} is not known here")
    if len(piece) != chunk.bytes:
        raise BadChunk(f"chunk {short}: {len(piece)} bytes or more, and its release says {chunk.bytes}")
    if (digest := sha256_hex(piece)) != chunk.sha256:
        raise BadChunk(f"chunk {short}: its bytes have the digest {digest[:12]}")
    return piece


def cut_file(name: str, data: bytes) -> list[tuple[Chunk, bytes]]:
    """Return the chunks of a file with their payloads; an `.onnx` file is cut along its tensors."""
    boundaries = tensor_boundaries(data) if name.endswith(".onnx") else ()
    return [pack(piece) for piece in cut(data, boundaries)]
