"""What is good for a detector: boxes that meet the true ones, and mean average precision.

A detector's one output has a row for each place: four corners of a box in pixels (x1, y1, x2, y2), how sure it is that something is
there, then a share for each label; all but the corners from 0 to 1. Targets have a row for each thing that may be in a picture:
four corners and the number of its label, or -1 throughout where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[Any]
BOX, SURE, CLASSES = slice(0, 4), 4, slice(5, None)
NMS_IOU = 0.5
MIN_SCORE = 0.05
MOST = 50
"""Boxes of a picture that are looked at, the surest."""


def iou(first: Array, second: Array) -> Array:
    """Return what boxes (n, 4) and (m, 4) have in common as a share of what they cover together, (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    together = areas[0][:, None] + areas[1][None, :] - common
    shares: Array = common / np.maximum(together, 1e-9)
    return shares


def found(rows: Array) -> tuple[Array, Array, Array]:
    """Return what a picture's rows (places, 5 + labels) say is there: boxes, scores and labels, the surest first.

    Of boxes with one label that meet by more than half, the surer stays (non-maximum suppression).
    """
    scores = rows[:, SURE, None] * rows[:, CLASSES]
    place, label = np.nonzero(scores >= MIN_SCORE)
    score = scores[place, label]
    order = np.argsort(-score, kind="stable")[:MOST]
    boxes, score, label = rows[place[order], BOX], score[order], label[order]
    # Boxes of two labels never meet: each label has a plane of its own.
    apart = boxes + label[:, None] * 1e5
    meets = iou(apart, apart) > NMS_IOU
    keep = np.ones(len(order), bool)
    for number in range(len(order)):
        if keep[number]:
            keep[number + 1 :] &= ~meets[number, number + 1 :]
    return boxes[keep], score[keep], label[keep]


@dataclass(frozen=True)
class Part:
    """One picture: what was found, whether each is right, and how many things of each label there are."""

    scores: Array
    labels: Array
    right: Array
    there: Array


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Mean over labels of the area under precision and recall, for boxes that meet a true one by at least `iou`.

    Every point counts, as in PASCAL VOC since 2010 (Everingham and others, 2015). A metric for a workload, 0 to 1.
    """

    labels: int
    iou: float = 0.5

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the metric of outputs (pictures, places, 5 + labels)."""
        return self.of_parts(self.parts(outputs, targets))

    def parts(self, outputs: Tensor, targets: Tensor) -> list[Part]:
        """Return what each picture adds: the slow part, done once where pictures are drawn many times."""
        return [self._part(out, true) for out, true in zip(outputs.numpy(), targets.numpy(), strict=True)]

    def _part(self, rows: Array, targets: Array) -> Part:
        true = targets[targets[:, 4] >= 0]
        there = np.bincount(true[:, 4].astype(int), minlength=self.labels)
        # NaN finds nothing.
        boxes, scores, labels = found(np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0))
        right = np.zeros(len(scores), bool)
        free = np.ones(len(true), bool)
        meets = iou(boxes, true[:, :4])
        for number, label in enumerate(labels):
            fits = np.where(free & (true[:, 4] == label), meets[number], 0.0)
            if len(true) and fits.max() >= self.iou:
                free[int(fits.argmax())] = False
                right[number] = True
        return Part(scores, labels, right, there)

    def of_parts(self, parts: Sequence[Part]) -> float:
        """Return the metric of these pictures together."""
        if not parts:
            return 0.0
        scores = np.concatenate([part.scores for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        right = np.concatenate([part.right for part in parts])
        there = np.sum([part.there for part in parts], axis=0)
        order = np.argsort(-scores, kind="stable")
        labels, right = labels[order], right[order]
        areas = [_area(right[labels == label], int(count)) for label, count in enumerate(there) if count]
        return float(np.mean(areas)) if areas else 0.0


def _area(right: Array, there: int) -> float:
    """Return the area under precision and recall. right: in the order of the scores."""
    hits = np.cumsum(right)
    recall = hits / there
    precision = hits / np.arange(1, len(right) + 1)
    # What a lower threshold reaches with more precision counts at once.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best))
