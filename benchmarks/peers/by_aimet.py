"""AIMET's cross-layer equalization and quantization of an ONNX file, exported as QDQ in the form that Arm's kernels take.

Runs in AIMET's own environment: MODEL CALIBRATION OUT.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import aimet_onnx
import numpy as np
import onnx
from aimet_onnx.common.defs import QuantScheme
from aimet_onnx.cross_layer_equalization import equalize_model
from aimet_onnx.quantsim import QuantizationSimModel

model, calibration, out = sys.argv[1:]
inputs = np.load(calibration)
loaded = onnx.load(model)
name = loaded.graph.input[0].name
equalize_model(loaded)
config = Path(aimet_onnx.__file__).parent / "common" / "quantsim_config" / "default_config_per_channel.json"
sim = QuantizationSimModel(
    loaded,
    param_type=aimet_onnx.int8,
    activation_type=aimet_onnx.int8,
    quant_scheme=QuantScheme.min_max,
    config_file=str(config),
)
sim.compute_encodings([{name: rows} for rows in np.split(inputs, 16)])
made = sim.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True, force_activation_as="signed")
made.ir_version = min(made.ir_version, 10)
onnx.save(made, out)
print(version("aimet-onnx"))
