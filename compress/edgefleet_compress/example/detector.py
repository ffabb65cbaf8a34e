"""A workload: where in a picture of 64 by 64 are garments, and of which kind? A small one-stage detector.

Copy this file and change it. What is particular to a detector: the output with a row for each place, a loss that gives every thing its place, a
metric of its own, and how it learns from the original (`distil`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefleet_compress.detection import MeanAveragePrecision
from edgefleet_compress.example.data import LABELS
from edgefleet_compress.example.scenes import SIDE, scenes
from edgefleet_compress.workload import InputSpec, OutputSpec, Split, Workload
from edgefleet_protocol.manifest import BOX_ROWS

STRIDE = 8
GRID = SIDE // STRIDE
PLACES = GRID * GRID
USUAL = 24.0
"""Side of a garment, in pixels: what a box begins with."""


def unit(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution, its normalization and Relu."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())


class Detector(nn.Module):
    """Six convolutions to a grid of 8 by 8 places, each of which may hold the middle of one thing; boxes are decoded inside."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(1, 16, 2), unit(16, 32, 2), unit(32, 48), unit(48, 64, 2), unit(64, 64), unit(64, 64)
        )
        self.head = nn.Conv2d(64, 5 + len(LABELS), 1)
        line = (torch.arange(GRID) + 0.5) * STRIDE
        middle = torch.stack([line.repeat(GRID), line.repeat_interleave(GRID)], dim=1)
        self.register_buffer("middle", middle[None])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 64, 64), 0 to 1, to (N, 64, 15): corners in pixels, how sure, a share for each label."""
        raw = self.head(self.body((x - 0.25) / 0.25)).flatten(2).transpose(1, 2)
        middle = self.middle + raw[..., 0:2] * STRIDE
        half = torch.exp(raw[..., 2:4].clamp(-2, 2)) * (USUAL / 2)
        boxes = torch.cat([middle - half, middle + half], dim=2)
        return torch.cat([boxes, raw[..., 4:5].sigmoid(), raw[..., 5:].softmax(2)], dim=2)


def _places(targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where things are: their pictures, the place of each middle, and their rows."""
    picture, which = (targets[..., 4] >= 0).nonzero(as_tuple=True)
    rows = targets[picture, which]
    middle = (rows[:, 0:2] + rows[:, 2:4]) / 2
    cell = (middle / STRIDE).long().clamp(0, GRID - 1)
    return picture, cell[:, 1] * GRID + cell[:, 0], rows


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss: is there something at each place, and where there is, how far are the corners off, and which is it?"""
    picture, place, rows = _places(targets)
    there = torch.zeros(outputs.shape[:2])
    there[picture, place] = 1.0
    sure = outputs[..., 4].clamp(1e-4, 1 - 1e-4)
    presence = functional.binary_cross_entropy(sure, there, weight=1 + 4 * there)
    if not len(rows):
        return presence
    mine = outputs[picture, place]
    corners = functional.smooth_l1_loss(mine[:, :4] / STRIDE, rows[:, :4] / STRIDE)
    kind = functional.nll_loss(mine[:, 5:].clamp_min(1e-6).log(), rows[:, 4].long())
    return 3 * presence + corners + 0.5 * kind


def distil(outputs: Tensor, taught: Tensor) -> Tensor:
    """Return how far a smaller detector is from the original: corners and labels count where the original is sure."""
    weight = taught[..., 4]
    sure, theirs = outputs[..., 4].clamp(1e-4, 1 - 1e-4), weight.clamp(1e-4, 1 - 1e-4)
    presence = functional.binary_cross_entropy(sure, theirs, weight=1 + 4 * theirs)
    corners = functional.smooth_l1_loss(outputs[..., :4] / STRIDE, taught[..., :4] / STRIDE, reduction="none").mean(2)
    kinds = functional.kl_div(outputs[..., 5:].clamp_min(1e-6).log(), taught[..., 5:], reduction="none").sum(2)
    share = weight.sum().clamp_min(1e-6)
    return 3 * presence + (weight * (corners + 0.5 * kinds)).sum() / share


def workload() -> Workload:
    """Return the workload that `edgefleet compress run` works on."""
    return Workload(
        name="garments",
        make_model=Detector,
        train=Split(*scenes("train")),
        validation=Split(*scenes("validation")),
        test=Split(*scenes("test")),
        task="detection",
        labels=LABELS,
        input=InputSpec(
            name="image", datatype="FP32", shape=(-1, 1, SIDE, SIDE), layout="NCHW", colour="grey", range=(0, 1),
            resize="stretch",
        ),
        output=OutputSpec(
            name="detections", datatype="FP32", shape=(-1, PLACES, 5 + len(LABELS)),
            meaning=BOX_ROWS,
        ),
        loss=loss,
        distil=distil,
        metric=MeanAveragePrecision(len(LABELS)),
        metric_name="mAP@0.5",
        thresholds={"score": 0.3, "iou": 0.5},
    )  # fmt: skip
