"""The shipped part of Fashion-MNIST: 10,600 real pictures of 28 by 28, in under 4 MB, with their digests."""

import hashlib
import json
import lzma
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
PIXELS = 28 * 28


@dataclass(frozen=True)
class Fashion:
    """Images as float32 NCHW from 0 to 1, labels as int64, for the splits `train`, `validation` and `test`."""

    images: dict[str, Tensor]
    labels: dict[str, Tensor]


@cache
def fashion() -> Fashion:
    """Return the data; raise ValueError when a byte of it is not what was shipped."""
    folder = files(__package__)
    about = json.loads((folder / "fashion.json").read_text())
    packed = (folder / "fashion.xz").read_bytes()
    _check("fashion.xz", packed, about["sha256"])
    plain = lzma.decompress(packed)
    counts = {split: int(about[split]) for split in ("train", "validation", "test")}
    total = sum(counts.values())
    _check("its images", plain[: total * PIXELS], about["images_sha256"])
    _check("its labels", plain[total * PIXELS :], about["labels_sha256"])
    bytes_ = np.frombuffer(plain, np.uint8)
    images = torch.from_numpy(bytes_[: total * PIXELS].reshape(total, 1, 28, 28).astype(np.float32) / 255)
    labels = torch.from_numpy(bytes_[total * PIXELS :].astype(np.int64))
    sizes = list(counts.values())
    return Fashion(
        dict(zip(counts, torch.split(images, sizes), strict=True)),
        dict(zip(counts, torch.split(labels, sizes), strict=True)),
    )


def _check(what: str, data: bytes, want: str) -> None:
    if (got := hashlib.sha256(data).hexdigest()) != want:
        raise ValueError(f"{what}: the digest is {got[:12]} and should be {want[:12]}; install the package anew")
