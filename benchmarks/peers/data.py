"""Fashion-MNIST as Debian ships it (`apt install dataset-fashion-mnist`): 60,000 and 10,000 pictures of 28 by 28.

Split by the order of the files: training 0 to 20,000, validation 55,000 to 60,000, test the other file.
"""

import gzip
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgefleet_compress.workload import Split

FOLDER = Path(os.environ.get("FASHION_MNIST_DIR", "/usr/share/datasets/fashion-mnist"))
MEAN, SPREAD = 0.2860, 0.3530
SLICES = {
    "train": ("train", slice(0, 20_000)),
    "validation": ("train", slice(55_000, 60_000)),
    "test": ("t10k", slice(None)),
}


@cache
def split(name: str) -> Split:
    """Return pictures (count, 1, 28, 28), normalized, and labels; raise SystemExit, saying what to install, when they are not there."""
    file, part = SLICES[name]
    pictures, labels = _read(f"{file}-images-idx3-ubyte.gz")[part], _read(f"{file}-labels-idx1-ubyte.gz")[part]
    inputs = (pictures[:, None].astype(np.float32) / 255 - MEAN) / SPREAD
    return Split(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels.astype(np.int64)))


def _read(name: str) -> np.ndarray:
    path = FOLDER / name
    if not path.is_file():
        raise SystemExit(f"{path} is not there: apt install dataset-fashion-mnist, or set FASHION_MNIST_DIR")
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the pictures moved by up to two pixels, half of them mirrored."""
    count = len(images)
    padded = functional.pad(images, (2, 2, 2, 2), value=-MEAN / SPREAD)[:, 0]
    move = torch.randint(0, 5, (count, 2), generator=generator)
    mirror = torch.rand(count, generator=generator) < 0.5
    line = torch.arange(28)
    rows = move[:, :1] + line
    columns = move[:, 1:] + torch.where(mirror[:, None], line.flip(0), line)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]
