"""Preprocessing inside the model: bytes of a camera go in, rows of pixels with their channels last, and nothing else is asked of applications."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefleet_compress.commands import main
from edgefleet_compress.runtime import answers, coverage, open_session
from tests.compress.conftest import TINY

BAKED = '''
import dataclasses
import importlib.util

import torch
from torch import Tensor, nn

from edgefleet_compress.workload import InputSpec, Split, Workload

spec = importlib.util.spec_from_file_location("tiny_inside", {tiny!r})
tiny = importlib.util.module_from_spec(spec)
import sys
sys.modules["tiny_inside"] = tiny
spec.loader.exec_module(tiny)


class Baked(nn.Module):
    """(N, 28, 28, 1) bytes to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = tiny.Tiny()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.inside(pixels.permute(0, 3, 1, 2).float() / 255)


def workload() -> Workload:
    whole = tiny.workload()
    splits = {{
        name: Split((getattr(whole, name).inputs * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), getattr(whole, name).targets)
        for name in ("train", "validation", "test")
    }}
    pixels = InputSpec(name="image", datatype="UINT8", shape=(-1, 28, 28, 1), layout="NHWC", colour="grey", range=(0, 255))
    return dataclasses.replace(whole, name="baked", make_model=Baked, input=pixels, **splits)
'''
RECIPES = """
[original]
steps = [{ step = "finetune", epochs = 4, learning_rate = 0.1 }]
[[variant]]
name = "int8"
steps = [{ step = "quantize_static", samples = 64 }, "tidy"]
[[variant]]
name = "p50-int8"
steps = [
    { step = "prune", ratio = 0.5, tolerance_points = 100.0, recover = { step = "distill", epochs = 1 } },
    { step = "quantize_static", samples = 64 }, "tidy",
]
[gates]
refuse = false
"""


def test_a_model_that_takes_bytes_is_compressed_and_still_takes_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "workload.py").write_text(BAKED.format(tiny=str(TINY)))
    (tmp_path / "recipes.toml").write_text(RECIPES)
    out = tmp_path / "package"
    assert (
        main(
            [
                "run",
                str(tmp_path / "workload.py"),
                "--recipes",
                str(tmp_path / "recipes.toml"),
                "--out",
                str(out),
                "--json",
            ]
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in said["variants"]] == ["fp32", "int8", "p50-int8"]
    (spec,) = json.loads((out / "release.json").read_text())["interface"]["inputs"]
    assert (spec["datatype"], spec["shape"], spec["layout"], spec["range"]) == (
        "UINT8",
        [-1, 28, 28, 1],
        "NHWC",
        [0, 255],
    )
    for name in ("fp32", "int8", "p50-int8"):
        data = (out / "files" / name / "model.onnx").read_bytes()
        (first,) = onnx.load_from_string(data).graph.input
        assert first.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
        assert answers(open_session(data), pixels).shape == (3, 10)
        seen = coverage(data)
        assert seen.int8 == (0 if name == "fp32" else seen.all)
