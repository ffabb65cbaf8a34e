"""A workload that trains in a second or two: a few hundred real pictures and a very small network."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefleet_compress.example.data import LABELS, fashion
from edgefleet_compress.workload import InputSpec, OutputSpec, Split, Workload


class Tiny(nn.Module):
    """Two convolutions beside a short cut, so that pruning has a dependency to follow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) to (N, 10)."""
        x = functional.relu(self.stem(x))
        x = functional.relu(self.body(x) + x)
        logits: Tensor = self.head(functional.adaptive_avg_pool2d(x, 2).mean((2, 3)))
        return logits


def workload() -> Workload:
    """Return it."""
    data = fashion()

    def some(split: str, count: int) -> Split:
        return Split(data.images[split][:count], data.labels[split][:count])

    return Workload(
        name="tiny",
        make_model=Tiny,
        train=some("train", 400),
        validation=some("validation", 200),
        test=some("test", 300),
        labels=LABELS,
        input=InputSpec(name="image", datatype="FP32", shape=(-1, 1, 28, 28), layout="NCHW", range=(0, 1)),
        output=OutputSpec(name="logits", datatype="FP32", shape=(-1, 10), meaning="logits"),
    )


torch.set_num_threads(1)
