"""A workload: pictures of clothes, ten kinds, for cameras that see one garment at a time.

Copy this file and change it: a model, its data, what is good, and what applications may rely on.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefleet_compress.example.data import LABELS, fashion
from edgefleet_compress.workload import InputSpec, OutputSpec, Split, Workload


def unit(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution and its normalization."""
    convolution = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))


class Block(nn.Module):
    """Two convolutions, and a way around them."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = unit(channels_in, channels_out, 3, stride)
        self.second = unit(channels_out, channels_out, 3)
        same = channels_in == channels_out and stride == 1
        self.around = nn.Identity() if same else unit(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        return functional.relu(self.second(functional.relu(self.first(x))) + self.around(x))


class SmallResNet(nn.Module):
    """Eight layers, 174,000 weights, 5.8 million multiplications a picture."""

    def __init__(self, widths: tuple[int, int, int] = (24, 48, 96)) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = unit(1, a, 3, 2)
        self.blocks = nn.Sequential(Block(a, a, 1), Block(a, b, 2), Block(b, c, 2))
        self.head = nn.Linear(c, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28), 0 to 1, to (N, 10) logits."""
        x = functional.relu(self.stem((x - 0.286) / 0.353))
        logits: Tensor = self.head(functional.adaptive_avg_pool2d(self.blocks(x), 1).flatten(1))
        return logits


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the pictures moved by up to two pixels, half of them mirrored."""
    count = len(images)
    padded = functional.pad(images, (2, 2, 2, 2))[:, 0]
    move = torch.randint(0, 5, (count, 2), generator=generator)
    mirror = torch.rand(count, generator=generator) < 0.5
    line = torch.arange(28)
    rows = move[:, :1] + line
    columns = move[:, 1:] + torch.where(mirror[:, None], line.flip(0), line)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def workload() -> Workload:
    """Return the workload that `edgefleet compress run` works on."""
    data = fashion()
    splits = {name: Split(data.images[name], data.labels[name]) for name in data.images}
    return Workload(
        name="fashion",
        make_model=SmallResNet,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        labels=LABELS,
        input=InputSpec(
            name="image", datatype="FP32", shape=(-1, 1, 28, 28), layout="NCHW", colour="grey", range=(0, 1),
            resize="stretch",
        ),
        output=OutputSpec(name="logits", datatype="FP32", shape=(-1, 10), meaning="logits"),
        augment=augment,
    )  # fmt: skip
