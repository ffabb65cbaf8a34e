"""How many bytes a device downloads."""

from edgefleet_protocol.chunks import cut_file


def wire_bytes(model: bytes) -> int:
    """Return the bytes of all chunks of an ONNX file, each in its smallest encoding, without topics and manifest."""
    chunks = {chunk.sha256: chunk.wire_bytes for chunk, _ in cut_file("model.onnx", model)}
    return sum(chunks.values())
