"""Scenes for a detector: garments of Fashion-MNIST at several places and sizes, on ground that is not empty, with their boxes.

Composed anew each time from the pictures that are shipped, with a generator that has a seed: the same scenes on every machine.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from .data import fashion

SIDE = 64
MOST = 4
"""Garments in a scene, at most."""
SIZES = (18, 22, 26, 30)
COUNTS = {"train": 4000, "validation": 600, "test": 1000}
SEEDS = {"train": 11, "validation": 12, "test": 13}


@cache
def scenes(split: str, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the pictures (count, 1, 64, 64), 0 to 1, and what is in them (count, 4, 5): corners and label, or -1.

    A split's scenes are made of that split's garments only.
    """
    data = fashion()
    images, labels = data.images[split], data.labels[split]
    count = count or COUNTS[split]
    generator = torch.Generator().manual_seed(SEEDS[split])

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    ground = torch.rand(count, 1, 8, 8, generator=generator) * 0.35
    pictures = functional.interpolate(ground, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    pictures += torch.rand(pictures.shape, generator=generator) * 0.1
    truth = torch.full((count, MOST, 5), -1.0)
    for scene in range(count):
        taken: list[tuple[int, int, int]] = []
        for place in range(number(1, MOST + 1)):
            side, row = SIZES[number(0, len(SIZES))], number(0, len(images))
            spot = next(
                (
                    (x, y)
                    for x, y in ((number(0, SIDE - side), number(0, SIDE - side)) for _ in range(12))
                    if all(_apart(x, y, side, other) for other in taken)
                ),
                None,
            )
            if spot is None:
                continue
            x, y = spot
            taken.append((x, y, side))
            garment = functional.interpolate(
                images[row][None], size=(side, side), mode="bilinear", align_corners=False
            )[0]
            under = pictures[scene, :, y : y + side, x : x + side]
            pictures[scene, :, y : y + side, x : x + side] = torch.maximum(under, garment)
            truth[scene, place] = torch.tensor([x, y, x + side, y + side, float(labels[row])])
    return pictures.clamp(0, 1), truth


def _apart(x: int, y: int, side: int, other: tuple[int, int, int]) -> bool:
    """Return whether two squares share at most a strip: garments may touch, not lie on each other."""
    left, top, size = other
    wide = min(x + side, left + size) - max(x, left)
    high = min(y + side, top + size) - max(y, top)
    return wide <= 0 or high <= 0 or wide * high < 0.1 * min(side, size) ** 2
