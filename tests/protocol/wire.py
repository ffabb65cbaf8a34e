"""ONNX files out of raw wire bytes, so that a test can write what no honest library would.

Field numbers are those of onnx.proto; each function returns the bytes of one message.
"""


def varint(value: int) -> bytes:
    """`value` as a varint; a negative one as protobuf writes int64."""
    value &= 2**64 - 1
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def number(field: int, value: int) -> bytes:
    """A varint field."""
    return varint(field << 3) + varint(value)


def block(field: int, payload: bytes | str, *, tag_bits: int = 0) -> bytes:
    """A field of bytes. tag_bits: bits to set in the tag besides, beyond the 32 that a reader keeps."""
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2 | tag_bits) + varint(len(payload)) + payload


def tensor(
    *dims: int, raw: bytes = b"", outside: dict[str, str] | None = None, data_type: int = 1, name: str = "w"
) -> bytes:
    """A TensorProto; `outside` gives its external_data entries."""
    body = b"".join(number(1, dim) for dim in dims) + number(2, data_type) + block(8, name)
    if raw:
        body += block(9, raw)
    for key, value in (outside or {}).items():
        body += entry(key, value)
    return body + (number(14, 1) if outside is not None else b"")


def entry(key: str, value: str) -> bytes:
    """One external_data entry of a tensor, as a field of it."""
    return block(13, block(1, key) + block(2, value))


def sparse(values: bytes, indices: bytes, *dims: int) -> bytes:
    """A SparseTensorProto."""
    return block(1, values) + block(2, indices) + b"".join(number(3, dim) for dim in dims)


def attribute(name: str, *parts: bytes) -> bytes:
    """An AttributeProto from its fields."""
    return block(1, name) + b"".join(parts)


def node(operator: str, *attributes: bytes, domain: str = "") -> bytes:
    """A NodeProto from x to y."""
    body = block(1, "x") + block(2, "y") + block(4, operator) + b"".join(block(5, each) for each in attributes)
    return body + (block(7, domain) if domain else b"")


def graph(*nodes: bytes, tensors: tuple[bytes, ...] = (), sparse_tensors: tuple[bytes, ...] = ()) -> bytes:
    """A GraphProto."""
    return (
        b"".join(block(1, each) for each in nodes)
        + b"".join(block(5, each) for each in tensors)
        + b"".join(block(15, each) for each in sparse_tensors)
    )


def opset(version: int, domain: str = "") -> bytes:
    """An OperatorSetIdProto."""
    return (block(1, domain) if domain else b"") + number(2, version)


def model(*graphs: bytes, more: bytes = b"", opsets: tuple[bytes, ...] = (opset(17),)) -> bytes:
    """A ModelProto of IR 8."""
    return (
        number(1, 8) + b"".join(block(7, each) for each in graphs) + b"".join(block(8, each) for each in opsets) + more
    )
