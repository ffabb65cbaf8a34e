"""Do two sets of boxes say the same? Pure: for golden answers of detection, whose order and last digits mean nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgefleet_protocol.manifest import BOX_ROWS, Interface

MEANING = "boxes-xyxy"
MATCH_IOU = 0.5
"""Two boxes are the same when they overlap by so much, unless the interface names a threshold `iou`."""


@dataclass(frozen=True)
class Box:
    """One box that was found."""

    corners: tuple[float, float, float, float]
    """x and y of one corner, x and y of the other."""
    score: float = 1.0
    label: int = 0


@dataclass(frozen=True)
class Roles:
    """Which outputs hold what. Scores and labels may be lacking."""

    boxes: str
    scores: str | None
    labels: str | None
    columns: int = 4
    """Of `boxes`: 4 corners, or, in one tensor of all, a score and a share for each label behind them."""


def roles(interface: Interface) -> Roles | None:
    """Return which outputs are boxes, scores and labels, by their meaning, else by their name; None without boxes."""
    if rows := next((row for row in interface.outputs if row.meaning == BOX_ROWS and row.shape[-1] > 5), None):
        return Roles(rows.name, None, None, rows.shape[-1])
    boxes = next((row.name for row in interface.outputs if row.meaning == MEANING), None)
    if boxes is None:
        return None
    return Roles(boxes, _named(interface, ("scores", "confidence")), _named(interface, ("labels", "classes")))


def _named(interface: Interface, words: Sequence[str]) -> str | None:
    by_meaning = [row.name for row in interface.outputs if row.meaning in words]
    by_name = [row.name for row in interface.outputs if row.name in words]
    return next(iter((*by_meaning, *by_name)), None)


def read(tensors: Mapping[str, Sequence[float]], found: Roles) -> list[Box]:
    """Return the boxes in the values of one sample; rows that are nothing but padding (no area) are left out."""
    flat = tensors[found.boxes]
    if found.columns > 4:
        return _of_rows(flat, found.columns)
    count = len(flat) // 4
    scores = tensors[found.scores] if found.scores else [1.0] * count
    labels = tensors[found.labels] if found.labels else [0] * count
    rows = []
    for index in range(min(count, len(scores), len(labels))):
        left, top, right, bottom = flat[4 * index : 4 * index + 4]
        if right > left and bottom > top:
            rows.append(Box((left, top, right, bottom), scores[index], int(labels[index])))
    return rows


def _of_rows(flat: Sequence[float], columns: int) -> list[Box]:
    """Return the boxes of rows that hold corners, how sure, and a share for each label. The score is both together."""
    boxes = []
    for start in range(0, len(flat) - columns + 1, columns):
        left, top, right, bottom, sure, *shares = flat[start : start + columns]
        if right > left and bottom > top:
            label = max(range(len(shares)), key=shares.__getitem__)
            boxes.append(Box((left, top, right, bottom), sure * shares[label], label))
    return boxes


def agreement(
    ours: Sequence[Box], golden: Sequence[Box], *, threshold: float, score_apart: float, iou: float = MATCH_IOU
) -> tuple[int, int]:
    """Return how many boxes of both sides have a partner, and how many should have one.

    A box counts when its score reaches `threshold`. One that reaches it by no more than `score_apart` may be missing on the
    other side: there it may just as well have stayed below. Partners have the same label, scores no further apart than
    `score_apart`, and overlap by `iou`; the golden boxes choose in the order of their scores.
    """
    left = list(range(len(ours)))
    partners: set[int] = set()
    matched = wanted = 0
    for box in sorted(golden, key=lambda row: -row.score):
        if not box.score >= threshold:
            continue
        fits = [i for i in left if ours[i].label == box.label and abs(ours[i].score - box.score) <= score_apart]
        best = max(fits, key=lambda i: overlap(ours[i].corners, box.corners), default=None)
        if best is not None and overlap(ours[best].corners, box.corners) >= iou:
            left.remove(best)
            partners.add(best)
            matched, wanted = matched + 1, wanted + 1
        elif box.score > threshold + score_apart:
            wanted += 1
    for index, box in enumerate(ours):
        if index in partners:
            matched, wanted = matched + 1, wanted + 1
        elif not box.score <= threshold + score_apart:
            wanted += 1  # also where the score is no number
    return matched, wanted


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection of two boxes over their union, 0 to 1; 0 where a corner is no number."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if not (width > 0 and height > 0):
        return 0.0
    both = width * height
    return both / (_area(one) + _area(other) - both)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
