"""Tensors of the Open Inference Protocol as numpy arrays."""

from math import prod

import numpy as np

from .errors import Refused
from .runtime import Array

DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


def from_raw(data: memoryview, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """Return raw little-endian, row-major `data` as an array, without a copy; raise Refused for another size."""
    dtype = DTYPES[datatype]
    size = prod(shape) * dtype.itemsize
    if len(data) != size:
        raise Refused(
            400, f"input {name} has {len(data)} binary bytes and {datatype} {list(shape)} needs {size}"
        )  # fmt: skip
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def from_json(data: object, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """Return flat or nested JSON numbers as an array; raise Refused for anything else."""
    if datatype == "FP16":
        raise Refused(400, f"input {name} is FP16, which JSON cannot carry: send binary data")
    if not isinstance(data, list):
        raise Refused(400, f"input {name} has neither data nor binary_data_size")
    try:
        values = np.array(data)
    except ValueError as error:
        raise Refused(400, f"input {name}: its data is ragged") from error
    kinds = "b" if datatype == "BOOL" else "iu" if datatype.startswith(("INT", "UINT")) else "iuf"
    if values.size and values.dtype.kind not in kinds:
        raise Refused(400, f"input {name} is {datatype} and its data is not")
    if values.size != prod(shape):
        raise Refused(400, f"input {name} has {values.size} values and {list(shape)} needs {prod(shape)}")
    dtype = DTYPES[datatype]
    if dtype.kind in "iu" and values.size:
        low, high = (
            (-(2 ** (8 * dtype.itemsize - 1)), 2 ** (8 * dtype.itemsize - 1) - 1) if dtype.kind == "i" else (0, 255)
        )
        if int(values.min()) < low or int(values.max()) > high:
            raise Refused(400, f"input {name} has values that {datatype} cannot hold")
    return values.astype(dtype).reshape(shape)


def to_raw(values: Array, datatype: str) -> memoryview:
    """Return the raw little-endian, row-major bytes of `values`, without a copy where they lie so already."""
    return np.ascontiguousarray(values, dtype=DTYPES[datatype]).reshape(-1).view(np.uint8).data


def confidence(values: Array, meaning: str) -> list[float]:
    """Return, for each sample, the probability of its most probable class."""
    scores = np.asarray(values, dtype=np.float64).reshape(values.shape[0] if values.ndim else 1, -1)
    if not scores.size:
        return []
    top = scores.max(axis=1)
    # A release that does not say what its outputs mean is read by what they look like.
    likely = meaning == "probabilities" or (
        meaning != "logits" and scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
    )
    if not likely:
        with np.errstate(all="ignore"):
            top = 1 / np.exp(scores - top[:, None]).sum(axis=1)
    return [float(value) for value in top]
