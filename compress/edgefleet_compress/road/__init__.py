"""The road for a team that has an ONNX file and no training code: open, feed, quantize, compare, pack."""
