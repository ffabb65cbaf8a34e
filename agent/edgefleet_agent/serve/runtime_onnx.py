"""onnxruntime behind the Runtime seam: the only file of the agent that imports it. Tried with 1.23 and 1.32.

`python -m edgefleet_agent.serve.runtime_onnx` prints its version and providers, for the hardware probe, which must not
import it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from edgefleet_protocol.manifest import Datatype, TensorSpec

from ..tuning import Tuning
from . import providers
from .errors import CannotOpen
from .runtime import Array, Runtime, Setup

_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


class OnnxSession:
    """An open ONNX model."""

    def __init__(self, session: onnxruntime.InferenceSession, profile: str = "") -> None:
        self._session = session
        # What an engine was built for is all that may be asked: another shape would build another one, while serving.
        self.inputs = tuple(_fixed(_spec(value), profile) for value in session.get_inputs())
        self.outputs = tuple(_spec(value) for value in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output for `inputs`."""
        try:
            values = self._session.run(self._names, dict(inputs))
        except Exception as error:
            if _wants_memory(error):
                raise MemoryError(str(error)) from error
            raise
        return {name: np.ascontiguousarray(value) for name, value in zip(self._names, values, strict=True)}


class OnnxRuntime:
    """onnxruntime."""

    def open(self, path: Path, provider: str, threads: int, setup: Setup | None = None) -> OnnxSession:
        """Return the model at `path`."""
        setup = setup or Setup(Tuning(threads))
        tuning, built = setup.tuning, providers.builds(provider)
        if built and not setup.build and not _has_engine(setup.engines):
            raise CannotOpen(f"there is no engine of {provider} for it here; one is built in a trial, never in serving")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = tuning.threads
        options.enable_cpu_mem_arena = tuning.arena
        options.enable_mem_pattern = tuning.arena
        options.inter_op_num_threads = 1
        # Threads that spin between requests keep a core busy and a battery draining: off unless a trial found it worth that.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if tuning.spinning else "0")
        options.log_severity_level = 3
        try:
            chosen = providers.options(
                provider,
                str(setup.engines) if setup.engines is not None else None,
                setup.profile,
                quantized=built and b"QuantizeLinear" in path.read_bytes(),
            )
            session = onnxruntime.InferenceSession(str(path), options, providers=list(chosen))
        except Exception as error:  # onnxruntime has a class for each status and no base for them
            if _wants_memory(error):
                raise MemoryError(str(error)) from error
            raise CannotOpen(f"onnxruntime {onnxruntime.__version__} cannot open {path.name}: {error}") from error
        # It falls back to the CPU with no more than a warning.
        if session.get_providers()[0] != provider:
            raise CannotOpen(
                f"onnxruntime {onnxruntime.__version__} opened {path.name} on {session.get_providers()[0]}, not on {provider}"
            )
        return OnnxSession(session, setup.profile if built else "")


def runtime() -> Runtime:
    """Return the runtime."""
    return OnnxRuntime()


def _wants_memory(error: Exception) -> bool:
    """It has no status for it: memory that C++ or its arena could not have is told apart by the words alone."""
    words = ("bad_alloc", "bad allocation", "Failed to allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _has_engine(folder: Path | None) -> bool:
    return folder is not None and any(folder.glob("*.engine"))


def _fixed(spec: TensorSpec, profile: str) -> TensorSpec:
    shape = providers.fixed(spec.shape, profile, spec.name) if profile else spec.shape
    return TensorSpec(name=spec.name, datatype=spec.datatype, shape=shape)


def _spec(value: onnxruntime.NodeArg) -> TensorSpec:
    datatype = _DATATYPES.get(value.type)
    if datatype is None:
        raise CannotOpen(f"{value.name} is of type {value.type}; served are {', '.join(sorted(_DATATYPES))}")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in value.shape)
    return TensorSpec(name=value.name, datatype=datatype, shape=shape)


if __name__ == "__main__":
    print(json.dumps({"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}))
