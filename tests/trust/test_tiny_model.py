"""The tiny models that other tests release are what they say."""

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.fakes.tiny_model import IR_VERSION, OPSET, answers, samples, tiny_onnx


@pytest.mark.parametrize("ballast", [0, 100_000])
def test_onnxruntime_gives_the_answers_that_plain_python_computes(ballast: int) -> None:
    for seed in range(5):
        model = tiny_onnx(seed, ballast=ballast)
        checked = onnx.load_from_string(model)
        onnx.checker.check_model(checked)
        assert (checked.ir_version, checked.opset_import[0].version) == (IR_VERSION, OPSET)
        session = onnxruntime.InferenceSession(model)
        inputs = samples(seed, 8)
        (got,) = session.run(None, {"input": np.array(inputs, dtype=np.float32)})
        assert got.tolist() == answers(seed, inputs)
