"""A real trust repository in a folder, and packages to publish in it.

`tiny_onnx` and `make_package` work wherever the protocol is; the rest needs edgefleet-trust, which is imported only
when asked for, since the device's side is tested without it.
"""

from __future__ import annotations

from .package import make_package
from .tiny_model import answers, samples, tiny_onnx

__all__ = ["answers", "make_package", "samples", "tiny_onnx"]
