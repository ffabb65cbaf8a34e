"""How much memory a process needs that opens a model and answers: measured in a process of its own."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..errors import CompressError
from ..runtime import Array

MARGIN = 1.3
"""Other builds of Python and onnxruntime, other allocators, requests in flight."""
ROOM_BYTES = 16_000_000
"""What a worker has besides: its server, its counters, the golden inputs."""

# What a worker imports, and no more. VmHWM and not ru_maxrss, which a child takes over from the parent that forked it.
_CHILD = """
import sys
import numpy
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
sample = dict(numpy.load(sys.argv[2]))
names = [value.name for value in session.get_inputs()]
feeds = {name: sample[f"input_{number}"] for number, name in enumerate(names)}
for _ in range(3):
    session.run(None, feeds)
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        print(int(line.split()[1]) * 1024)
"""


def peak_memory_bytes(model: bytes, sample: Array | Mapping[str, Array], timeout_s: float = 120.0) -> int:
    """Return an upper bound for a worker's memory: the measured peak of loading and answering, and a margin. sample: of the
    only input, or of each by name, in the order of the file.
    """
    arrays = list(sample.values()) if isinstance(sample, Mapping) else [sample]
    with TemporaryDirectory(prefix="edgefleet-") as folder:
        path, inputs = Path(folder) / "model.onnx", Path(folder) / "sample.npz"
        path.write_bytes(model)
        np.savez(inputs, **{f"input_{number}": array for number, array in enumerate(arrays)})  # type: ignore[arg-type]
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, str(path), str(inputs)],
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    if child.returncode != 0 or not child.stdout.strip():
        last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        raise CompressError(f"a process that loads the model ended early: {last[0]}")
    return int(int(child.stdout) * MARGIN) + ROOM_BYTES
