"""The insurance gate over a workload's test data: answers of original and variant, compared."""

import torch

from ..runtime import Array, answers, open_session
from ..workload import Workload, top1
from .insurance import Verdict, compare_answers, compare_metric
from .limits import Limits


def answers_of(data: bytes, workload: Workload) -> Array:
    """Return the file's answers to the test data, under Arm's graph rules."""
    return answers(open_session(data, "arm"), workload.test.inputs.numpy())


def judge(original: Array, variant: Array, workload: Workload, limits: Limits) -> Verdict:
    """Return the verdict on the variant's answers."""
    targets = workload.test.targets
    if workload.metric is top1 and original.ndim == 2 and targets.ndim == 1:
        return compare_answers(original, variant, targets.numpy(), workload.labels, limits)
    first, second = torch.from_numpy(original), torch.from_numpy(variant)

    def score(rows: Array) -> tuple[float, float]:
        chosen = torch.from_numpy(rows)
        return workload.score(first[chosen], targets[chosen]), workload.score(second[chosen], targets[chosen])

    return compare_metric(score, len(targets), limits)
