"""The real worker with the real runtime, but for variants whose folder is named after a fault. Started in the worker's place."""

import ctypes
import mmap
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from edgefleet_agent.serve import runtime_onnx, worker
from edgefleet_agent.serve.runtime import RUNTIMES, Array, Runtime, Session, Setup
from edgefleet_protocol.manifest import TensorSpec

NO_INSTRUCTION = {"x86_64": b"\x0f\x0b", "aarch64": bytes(4)}


class Faulty:
    """A session that answers nothing: it is asked, and its process ends."""

    def __init__(self, session: Session, fault: str) -> None:
        self.inputs: tuple[TensorSpec, ...] = session.inputs
        self.outputs: tuple[TensorSpec, ...] = session.outputs
        self._fault = fault
        self._kept: list[bytearray] = []

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Meet an instruction that no CPU has, or take memory without end."""
        if self._fault == "illegal":
            page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(NO_INSTRUCTION[platform.machine()])
            ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        while True:
            self._kept.append(bytearray(16 * 1024 * 1024))


class FaultyRuntime:
    """The real runtime."""

    def __init__(self) -> None:
        self._real = runtime_onnx.runtime()

    def open(self, path: Path, provider: str, threads: int, setup: Setup | None = None) -> Session:
        """Open the model; what it does then is its folder's name."""
        session = self._real.open(path, provider, threads, setup)
        return Faulty(session, path.parent.name) if path.parent.name in ("illegal", "hungry") else session


def _faulty() -> Runtime:
    return FaultyRuntime()


RUNTIMES["onnxruntime"] = _faulty

if __name__ == "__main__":
    os._exit(worker.main())
