"""NNCF's quantization of an ONNX file, as its documentation shows it. Runs in NNCF's own environment: MODEL CALIBRATION OUT."""

import sys

import nncf
import numpy as np
import onnx

model, calibration, out = sys.argv[1:]
inputs = np.load(calibration)
name = onnx.load(model).graph.input[0].name
dataset = nncf.Dataset([inputs[i : i + 1] for i in range(len(inputs))], lambda rows: {name: rows})
made = nncf.quantize(onnx.load(model), dataset, preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=len(inputs))
onnx.save(made, out)
print(nncf.__version__)
