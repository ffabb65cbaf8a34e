"""How good a file is on held-out data, scored with the arithmetic of the devices that will run it."""

import torch

from ..runtime import answers, open_session
from ..workload import Workload


def accuracy(model: bytes, workload: Workload) -> float:
    """Return the workload's metric on the test data, under Arm's graph rules."""
    outputs = answers(open_session(model, "arm"), workload.test.inputs.numpy())
    return workload.score(torch.from_numpy(outputs), workload.test.targets)
