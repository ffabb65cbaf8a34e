"""Golden inputs and answers: are these the answers that the release promises?

Used by the trial in the worker and by the agent through the serving path, so that both judge alike. Standard library
only, as the agent's process must stay small.
"""

import math
import operator
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from struct import unpack

from edgefleet_protocol.manifest import DATATYPE_BYTES, Golden, Interface, TensorFile, Tolerance

from . import boxes

_CODES = {
    "BOOL": "B", "UINT8": "B", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "FP32": "f", "FP64": "d",
}  # fmt: skip

Sample = dict[str, bytes]
"""One sample: raw little-endian bytes by tensor name, without the dimension that counts samples."""


def samples(folder: Path, tensors: Sequence[TensorFile]) -> Iterator[Sample]:
    """Yield one sample after the other from the files of `tensors`; raise ValueError when a file has another size."""
    whole = {tensor.name: (folder / tensor.file).read_bytes() for tensor in tensors}
    for tensor in tensors:
        size = math.prod(tensor.shape) * DATATYPE_BYTES[tensor.datatype]
        if len(whole[tensor.name]) != size:
            raise ValueError(f"{tensor.file} has {len(whole[tensor.name])} bytes and {list(tensor.shape)} needs {size}")
    for index in range(count(tensors)):
        yield {
            tensor.name: whole[tensor.name][index * size : (index + 1) * size]
            for tensor, size in ((tensor, sample_bytes(tensor)) for tensor in tensors)
        }


def count(tensors: Sequence[TensorFile]) -> int:
    """Return how many samples `tensors` hold."""
    return tensors[0].shape[0]


def sample_bytes(tensor: TensorFile) -> int:
    """Return the bytes of one sample of `tensor`."""
    return math.prod(tensor.shape[1:]) * DATATYPE_BYTES[tensor.datatype]


def sample_shape(tensor: TensorFile) -> list[int]:
    """Return the shape of one sample as it is asked: a batch of one."""
    return [1, *tensor.shape[1:]]


def compare(
    answers: Sequence[Mapping[str, bytes]], folder: Path, golden: Golden, interface: Interface, provider: str
) -> str | None:
    """Return None when `answers`, one per sample, are within the tolerance for `provider`; else why not, in words."""
    tolerance = golden.tolerance(provider)
    if tolerance is None:
        return f"the release names no tolerance for {provider}"
    wanted = list(samples(folder, golden.outputs))
    if len(answers) != len(wanted):
        return f"{len(answers)} samples were answered and there are golden answers for {len(wanted)}"
    if (found := boxes.roles(interface)) is not None and all(
        name is None or any(row.name == name for row in golden.outputs)
        for name in (found.boxes, found.scores, found.labels)
    ):
        return _compare_boxes(answers, wanted, golden, interface, found, tolerance)
    worst, where = 0.0, ""
    agree = 0
    for index, (got, want) in enumerate(zip(answers, wanted, strict=True)):
        for tensor in golden.outputs:
            ours, theirs = got.get(tensor.name), want[tensor.name]
            if ours is None or len(ours) != len(theirs):
                return f"sample {index}: {tensor.name} has {len(ours or b'')} bytes and the golden answer {len(theirs)}"
            apart = difference(ours, theirs, tensor.datatype)
            if apart > worst:
                worst, where = apart, f"the answer to golden sample {index} differs by {apart:.4g} in {tensor.name}"
        first = golden.outputs[0]
        agree += top1(got[first.name], first.datatype) == top1(want[first.name], first.datatype)
    if worst > tolerance.max_abs:
        return f"{where} and {provider} is allowed {tolerance.max_abs:.4g}"
    if interface.task == "classification" and agree < tolerance.min_top1 * len(wanted):
        return f"{agree} of {len(wanted)} golden samples got the golden label and {tolerance.min_top1:.0%} must on {provider}"
    return None


def _compare_boxes(
    answers: Sequence[Mapping[str, bytes]],
    wanted: Sequence[Mapping[str, bytes]],
    golden: Golden,
    interface: Interface,
    found: boxes.Roles,
    tolerance: Tolerance,
) -> str | None:
    """For detection: enough boxes have a partner of the same label. Their order and number of rows mean nothing."""
    kinds = {row.name: row.datatype for row in golden.outputs}
    threshold = min(
        (interface.thresholds[name] for name in ("score", "confidence") if name in interface.thresholds), default=0.0
    )
    matched = total = 0
    for index, (got, want) in enumerate(zip(answers, wanted, strict=True)):
        if lacking := [name for name in kinds if name not in got]:
            return f"sample {index}: {', '.join(lacking)} was not answered"
        ours, theirs = (
            boxes.read({name: numbers(side[name], kind) for name, kind in kinds.items()}, found) for side in (got, want)
        )
        pair, both = boxes.agreement(
            ours,
            theirs,
            threshold=threshold,
            score_apart=tolerance.max_abs,
            iou=interface.thresholds.get("iou", boxes.MATCH_IOU),
        )
        matched, total = matched + pair, total + both
    if matched < tolerance.min_top1 * total:
        return (
            f"{matched} of {total} boxes, found and golden, have a partner of the same label and {tolerance.min_top1:.0%} "
            f"must on {tolerance.provider}"
        )
    return None


def difference(ours: bytes, theirs: bytes, datatype: str) -> float:
    """Return the largest absolute difference of two tensors; infinite where only one of them is a number."""
    if ours == theirs:
        return 0.0
    left, right = numbers(ours, datatype), numbers(theirs, datatype)
    differences = array("d", map(abs, map(operator.sub, left, right)))
    if all(map(math.isfinite, differences)):
        return max(differences, default=0.0)
    return max(map(_apart, left, right))


def _apart(ours: float, theirs: float) -> float:
    if ours == theirs or (math.isnan(ours) and math.isnan(theirs)):
        return 0.0
    apart = abs(ours - theirs)
    return math.inf if math.isnan(apart) else apart


def top1(data: bytes, datatype: str) -> int:
    """Return the place of the largest value; the first of equals. -1 for an empty or unordered tensor."""
    values = numbers(data, datatype)
    if not values or any(map(math.isnan, values)):
        return -1
    return max(range(len(values)), key=values.__getitem__)


def numbers(data: bytes, datatype: str) -> Sequence[float]:
    """Return the values of a raw little-endian tensor."""
    if datatype == "FP16":
        return unpack(f"<{len(data) // 2}e", data)
    values: array[float] = array(_CODES[datatype], data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
