"""The Open Inference Protocol's messages with binary tensors, as far as a client of one model needs them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .connection import Answer
from .errors import BadInput, ClientError, ModelFailed, ModelNotServed, ServerBusy
from .prediction import Array

LENGTH = "Inference-Header-Content-Length"

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip

Json = dict[str, Any]


def fit(value: object, spec: Mapping[str, Any]) -> Array:
    """Return `value` as the array that the input `spec` of the metadata takes.

    One sample without its first dimension gets one. Numbers are converted only where nothing is lost by their kind:
    whole numbers to floating point and between widths of floating point, never floating point to whole numbers.
    Raises BadInput, with both shapes or types, when it does not fit.
    """
    array = np.asarray(value)
    dtype = np.dtype(DTYPES[spec["datatype"]])
    wanted, given = list(spec["shape"]), list(array.shape)
    if array.dtype != dtype:
        floating = dtype.kind == "f" and array.dtype.kind in "fiu"
        if not floating and not np.can_cast(array.dtype, dtype, "safe"):
            raise BadInput(f"{spec['name']} takes {spec['datatype']} and got {array.dtype}: convert it first")
        array = array.astype(dtype)
    if array.ndim == len(wanted) - 1:
        array = array[np.newaxis]
    if array.ndim != len(wanted) or any(want not in (-1, got) for want, got in zip(wanted, array.shape, strict=True)):
        raise BadInput(f"{spec['name']} takes the shape {wanted} and got {given}")
    return np.ascontiguousarray(array)


def question(arrays: Mapping[str, Array], specs: Mapping[str, Mapping[str, Any]]) -> tuple[bytes, dict[str, str]]:
    """Return the body that asks with `arrays`, and its headers."""
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "datatype": specs[name]["datatype"],
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for name, array in arrays.items()
            ],
            "parameters": {"binary_data_output": True},
        },
        separators=(",", ":"),
    ).encode()
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return b"".join((head, *(array.tobytes() for array in arrays.values()))), headers


def read(answer: Answer) -> tuple[dict[str, Array], Json]:
    """Return the outputs and the parameters of an answer; raise ModelFailed for what is none."""
    try:
        size = int(answer.headers.get(LENGTH.lower(), len(answer.body)))
        said = json.loads(answer.body[:size])
        outputs: dict[str, Array] = {}
        for row in said["outputs"]:
            dtype = np.dtype(DTYPES[row["datatype"]])
            count = row.get("parameters", {}).get("binary_data_size")
            if count is None:
                values = np.array(row["data"], dtype=dtype)
            else:
                values = np.frombuffer(answer.body[size : size + count], dtype=dtype)
                size += count
            outputs[str(row["name"])] = values.reshape(row["shape"])
        parameters = said.get("parameters", {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFailed(f"what came back is no answer of the protocol: {error!r}") from error
    if not outputs:
        raise ModelFailed("the answer has no outputs")
    return outputs, dict(parameters)


def error_of(answer: Answer) -> ClientError:
    """Return the error that a status other than 200 stands for."""
    try:
        text = str(json.loads(answer.body)["error"])
    except (ValueError, KeyError, TypeError):
        text = answer.body[:200].decode("utf-8", "replace")
    kinds: dict[int, type[ClientError]] = {400: BadInput, 413: BadInput, 404: ModelNotServed, 503: ServerBusy}
    return kinds.get(answer.status, ModelFailed)(f"HTTP {answer.status}: {text}")
