"""NVIDIA Model Optimizer's int8 of an ONNX file, calibrated on the CPU. Runs in its own environment: MODEL CALIBRATION OUT."""

import sys

import modelopt
import numpy as np
import onnx
from modelopt.onnx.quantization import quantize

model, calibration, out = sys.argv[1:]
name = onnx.load(model).graph.input[0].name
quantize(
    model, quantize_mode="int8", calibration_data={name: np.load(calibration)}, calibration_method="max", output_path=out,
    calibration_eps=["cpu"], high_precision_dtype="fp32",
)  # fmt: skip
print(modelopt.__version__)
