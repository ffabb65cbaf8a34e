"""The example's data is real, whole, small enough to ship, and its digests are looked at."""

from pathlib import Path

import pytest
import torch

import edgefleet_compress.example
from edgefleet_compress.example import data as example_data
from edgefleet_compress.example.data import LABELS, fashion

FOLDER = Path(edgefleet_compress.example.__file__).parent


def test_the_shipped_data_is_under_four_megabytes_with_its_licence_beside_it() -> None:
    files = [FOLDER / name for name in ("fashion.xz", "fashion.json", "FASHION-LICENSE.txt")]
    assert sum(file.stat().st_size for file in files) <= 4_000_000
    assert "MIT License" in files[2].read_text() and "Zalando" in files[2].read_text()


def test_at_least_three_thousand_images_are_held_out_and_every_label_is_in_every_split() -> None:
    data = fashion()
    assert len(data.images["test"]) >= 3000
    assert sum(len(images) for images in data.images.values()) >= 9000
    for split, labels in data.labels.items():
        assert labels.dtype == torch.int64 and len(labels) == len(data.images[split])
        assert sorted(set(labels.tolist())) == list(range(len(LABELS)))


def test_images_are_float_pictures_from_zero_to_one() -> None:
    images = fashion().images["train"]
    assert images.dtype == torch.float32 and images.shape[1:] == (1, 28, 28)
    assert float(images.min()) == 0 and float(images.max()) == 1


def test_no_image_is_in_two_splits() -> None:
    images = fashion().images
    seen = {split: {row.numpy().tobytes() for row in rows} for split, rows in images.items()}
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_a_changed_byte_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("fashion.xz", "fashion.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    broken = bytearray((tmp_path / "fashion.xz").read_bytes())
    broken[1000] ^= 1
    (tmp_path / "fashion.xz").write_bytes(broken)
    monkeypatch.setattr(example_data, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match=r"fashion\.xz: the digest is .* install the package anew"):
        fashion.__wrapped__()
