"""The Open Inference Protocol's messages with binary tensors, as far as a client of one model needs them."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from .connection import Answer, Piece
from .errors import BadInput, ClientError, ModelFailed, ModelNotServed, NotAllowed, ServerBusy, TooLate
from .prediction import Array

LENGTH = "Inference-Header-Content-Length"

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip

Json = dict[str, Any]


Check = Literal["off", "finite", "range"]


def contract(metadata: Json) -> Json:
    """Return what the tensors mean, as the release's interface says it; empty where the server says nothing."""
    found = metadata.get("parameters", {}).get("interface", {})
    return dict(found)


def specs_of(metadata: Json) -> dict[str, Json]:
    """Return each input by name: datatype and shape, and of the contract its range, layout, colour and resize."""
    more = contract(metadata).get("inputs", {})
    return {row["name"]: {**more.get(row["name"], {}), **row} for row in metadata["inputs"]}


def fit(value: object, spec: Mapping[str, Any], *, cast: bool = False, check: Check = "finite") -> Array:
    """Return `value` as the array that the input `spec` takes.

    One sample without its first dimension gets one. Numbers are converted only where nothing is lost by their kind:
    whole numbers to floating point and between widths of floating point, never floating point to whole numbers. Bytes of
    a picture are not converted for an input with another range than 0 to 255: they would all be far outside of it.

    cast: convert the numbers as they are, whatever their kind and the range.
    check: `finite` refuses NaN and infinity, `range` also what is outside the range that the release names.
    Raises BadInput, with both shapes, types or values, when it does not fit.
    """
    array = np.asarray(value)
    dtype = np.dtype(DTYPES[spec["datatype"]])
    wanted, given = list(spec["shape"]), list(array.shape)
    if not cast:
        _check_kind(array, dtype, spec)
    elif array.dtype.kind not in "biuf":
        raise BadInput(f"{spec['name']} takes {spec['datatype']} and got {array.dtype}, which are no numbers")
    array = array.astype(dtype, copy=False)
    if array.ndim == len(wanted) - 1:
        array = array[np.newaxis]
    if array.ndim != len(wanted) or any(want not in (-1, got) for want, got in zip(wanted, array.shape, strict=True)):
        raise BadInput(f"{spec['name']} takes the shape {wanted} and got {given}")
    if check != "off":
        check_values(array, spec, check)
    return np.ascontiguousarray(array)


def _check_kind(array: Array, dtype: "np.dtype[Any]", spec: Mapping[str, Any]) -> None:
    name, bounds = spec["name"], spec.get("range")
    if dtype.kind == "f" and array.dtype == np.uint8 and bounds is not None and tuple(bounds) != (0, 255):
        low, high = bounds
        back = f" * {high - low:g} + {low:g}" if (low, high) != (0, 1) else ""
        raise BadInput(
            f"{name} takes {spec['datatype']} from {low:g} to {high:g} and got uint8, from 0 to 255. Hand over "
            f"array.astype('float32') / 255{back}, or say cast=True if the numbers are right as they are"
        )
    floating = dtype.kind == "f" and array.dtype.kind in "fiu"
    if array.dtype != dtype and not floating and not np.can_cast(array.dtype, dtype, "safe"):
        raise BadInput(f"{name} takes {spec['datatype']} and got {array.dtype}: convert it first, or say cast=True")


def check_values(array: Array, spec: Mapping[str, Any], check: Check) -> None:
    """Raise BadInput for values that `check` looks for."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise BadInput(f"{spec['name']} has {bad} values of {array.size} that are NaN or infinite")
    bounds = spec.get("range")
    if check == "range" and bounds is not None and array.size and array.dtype.kind in "iuf":
        low, high = array.min(), array.max()
        if low < bounds[0] or high > bounds[1]:
            raise BadInput(
                f"{spec['name']} takes values from {bounds[0]:g} to {bounds[1]:g} and got some from {low:g} to {high:g}"
            )


def question(
    arrays: Mapping[str, Array], specs: Mapping[str, Mapping[str, Any]], deadline_ms: float | None = None
) -> tuple[list[Piece], dict[str, str]]:
    """Return the body that asks with `arrays`, in pieces, and its headers. deadline_ms: from now."""
    parameters: Json = {"binary_data_output": True}
    if deadline_ms is not None:
        parameters["deadline_ms"] = deadline_ms
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
            "parameters": parameters,
        },
        separators=(",", ":"),
    ).encode()
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return [head, *(array.reshape(-1).view(np.uint8).data for array in arrays.values())], headers


def read(answer: Answer) -> tuple[dict[str, Array], Json]:
    """Return the outputs and the parameters of an answer; raise ModelFailed for what is none."""
    try:
        size = int(answer.headers.get(LENGTH.lower(), len(answer.body)))
        said = json.loads(bytes(answer.body[:size]))
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


def error_for(status: int, body: bytes | memoryview) -> ClientError:
    """Return the error that a status other than 200 stands for."""
    text = bytes(body)
    try:
        words = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        words = text[:200].decode("utf-8", "replace")
    kinds: dict[int, type[ClientError]] = {
        400: BadInput, 413: BadInput, 403: NotAllowed, 404: ModelNotServed, 503: ServerBusy, 504: TooLate,
    }  # fmt: skip
    return kinds.get(status, ModelFailed)(f"HTTP {status}: {words}")
