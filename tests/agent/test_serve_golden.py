"""Golden answers are judged alike wherever they are judged, whatever numbers come."""

import math
import struct

import pytest

from edgefleet_agent.serve.golden import difference, numbers, top1


def floats(*values: float) -> bytes:
    """Return float32 values."""
    return struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize(
    ("ours", "theirs", "apart"),
    [
        (floats(), floats(), 0.0),
        (floats(1, 2), floats(1, 2), 0.0),
        (floats(1, 2), floats(1.5, -2), 4.0),
        (floats(math.nan), floats(math.nan), 0.0),
        (floats(math.nan, 1), floats(0, 1), math.inf),
        (floats(0, 1), floats(math.nan, 1), math.inf),
        (floats(math.inf, 1), floats(math.inf, 1.25), 0.25),
        (floats(-math.inf), floats(math.inf), math.inf),
        (floats(math.inf, math.nan), floats(1, 1), math.inf),
        (floats(math.nan, math.inf), floats(1, 1), math.inf),
    ],
)
def test_difference_is_never_smaller_than_it_is(ours: bytes, theirs: bytes, apart: float) -> None:
    assert difference(ours, theirs, "FP32") == apart


@pytest.mark.parametrize(
    ("datatype", "code", "values"),
    [
        ("UINT8", "B", (0, 255)),
        ("INT8", "b", (-128, 127)),
        ("INT16", "h", (-5, 7)),
        ("INT32", "i", (-5, 2**31 - 1)),
        ("INT64", "q", (-(2**63), 2**63 - 1)),
        ("FP16", "e", (0.5, -2.0)),
        ("FP32", "f", (0.5, -2.0)),
        ("FP64", "d", (0.1, -2.0)),
        ("BOOL", "?", (True, False)),
    ],
)
def test_every_datatype_is_read(datatype: str, code: str, values: tuple[float, ...]) -> None:
    assert tuple(numbers(struct.pack(f"<{len(values)}{code}", *values), datatype)) == values


def test_the_largest_is_found_and_an_unordered_tensor_has_none() -> None:
    assert top1(floats(1, 3, 2), "FP32") == 1
    assert top1(floats(3, 3), "FP32") == 0
    assert top1(floats(3, math.nan), "FP32") == -1
    assert top1(b"", "FP32") == -1
