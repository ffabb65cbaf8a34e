"""Files of a few kB as NNCF, AIMET and Model Optimizer really make them, for the tests of the coverage gate.

    python -m benchmarks.peers.small [--folder tests/compress/made_by] [--peers-folder .peers]

A residual block and an inverted bottleneck with Relu6 of 8 channels, random weights of seed 0, calibrated on noise. Each tool runs in its own
environment. The files are kept with the tests, since making them needs gigabytes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefleet_compress.steps.tidy import tidy

from . import environments
from .nets import Bottleneck, Residual, unit

KEPT = environments.ROOT / "tests" / "compress" / "made_by"


class Small(nn.Module):
    """One block of each family, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(1, 8, 3, 2, then="relu"), Residual(8, 8, 1), unit(8, 4, 1, then="relu6"), Bottleneck(4, 4, 1, "relu6")
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 12, 12) to (N, 3)."""
        scores: Tensor = self.head(functional.adaptive_avg_pool2d(self.body(x), 1).flatten(1))
        return scores


def main(argv: list[str]) -> int:
    """Write the files; return 1 when a tool made none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.small", description=__doc__)
    parser.add_argument("--folder", type=Path, default=KEPT)
    parser.add_argument("--peers-folder", type=Path, default=environments.FOLDER)
    arguments = parser.parse_args(argv)
    torch.manual_seed(0)
    inputs = torch.randn(64, 1, 12, 12)
    net = Small()
    net(inputs)  # BatchNorm takes up what it sees
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        model, calibration, out = (Path(folder) / name for name in ("float.onnx", "calibration.npy", "out.onnx"))
        torch.onnx.export(
            net.eval(), (inputs[:1],), str(model), opset_version=17, dynamo=False,
            input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        )  # fmt: skip
        np.save(calibration, inputs.numpy())
        for name in environments.PEERS:
            ran = environments.run(name, model, calibration, out, arguments.peers_folder)
            print(f"{name}: {ran.words}", file=sys.stderr)
            if ran.data is None:
                failed = 1
                continue
            made = onnx.load_from_string(tidy(ran.data))
            made.producer_name, made.producer_version = name, ran.words
            arguments.folder.mkdir(parents=True, exist_ok=True)
            (arguments.folder / f"{name}.onnx").write_bytes(made.SerializeToString())
            out.unlink()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
