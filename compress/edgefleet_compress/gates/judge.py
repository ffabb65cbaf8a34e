"""The insurance gate over a workload's test data: answers of original and variant, compared."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..runtime import Array, answers, open_session
from ..workload import Workload, top1
from .insurance import Verdict, compare_answers, compare_metric
from .limits import Limits


@runtime_checkable
class Parted(Protocol):
    """A metric that is worked out sample by sample first, and from those parts then."""

    def parts(self, outputs: Tensor, targets: Tensor) -> list[Any]:
        """Return what each sample adds."""

    def of_parts(self, parts: Sequence[Any]) -> float:
        """Return the metric of these samples."""


def answers_of(data: bytes, workload: Workload) -> Array:
    """Return the file's answers to the test data, under Arm's graph rules."""
    return answers(open_session(data, "arm"), workload.test.inputs.numpy())


def judge(original: Array, variant: Array, workload: Workload, limits: Limits) -> Verdict:
    """Return the verdict on the variant's answers."""
    targets = workload.test.targets
    if workload.metric is top1 and original.ndim == 2 and targets.ndim == 1:
        return compare_answers(original, variant, targets.numpy(), workload.labels, limits)
    first, second = torch.from_numpy(original), torch.from_numpy(variant)
    if isinstance(workload.metric, Parted):
        # Samples are drawn hundreds of times: what each adds is worked out once.
        one, two = workload.metric.parts(first, targets), workload.metric.parts(second, targets)
        of_parts = workload.metric.of_parts

        def score_parts(rows: Array) -> tuple[float, float]:
            return of_parts([one[row] for row in rows]), of_parts([two[row] for row in rows])

        return compare_metric(score_parts, len(targets), limits)

    def score(rows: Array) -> tuple[float, float]:
        chosen = torch.from_numpy(rows)
        return workload.score(first[chosen], targets[chosen]), workload.score(second[chosen], targets[chosen])

    return compare_metric(score, len(targets), limits)
