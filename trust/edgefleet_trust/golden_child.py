"""A child that opens a package's models and asks them the golden inputs, under limits; the holder's process never does.

`python -m edgefleet_trust.golden_child PACKAGE`: one line for each variant that answers wrongly; exit 0 all right, 1 some
wrong, 3 no onnxruntime here. The package has passed the ONNX guard before.
"""

import os
import resource
import sys
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_protocol.manifest import Release, TensorFile, Variant

MEMORY_BYTES = 8_000_000_000
CPU_S = 600
PROVIDER = "CPUExecutionProvider"
RIGHT, WRONG, NO_RUNTIME = 0, 1, 3
_NUMPY = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "UINT8": "u1", "INT8": "i1", "INT16": "<i2", "INT32": "<i4",
          "INT64": "<i8", "BOOL": "?"}  # fmt: skip


def main(package: Path) -> int:
    """Ask every variant; return the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # a newer runtime would tell its maker that it runs
    try:
        import onnxruntime
    except ImportError:
        return NO_RUNTIME
    release = msgspec.json.decode((package / "release.json").read_bytes(), type=Release)
    wrong = [words for variant in release.variants if (words := _ask(onnxruntime, package / "files", release, variant))]
    print("\n".join(wrong))
    return WRONG if wrong else RIGHT


def _ask(runtime: Any, files: Path, release: Release, variant: Variant) -> str | None:
    """Return what is wrong with the variant's answers, None when they are the golden ones."""
    import numpy

    tolerance = variant.golden.tolerance(PROVIDER)
    if variant.runtime != "onnxruntime" or tolerance is None:
        return None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(files / variant.files[0]), options, providers=[PROVIDER])
        inputs = [(row.name, _read(numpy, files, row)) for row in release.golden_inputs]
        worst = 0.0
        want = [_read(numpy, files, row) for row in variant.golden.outputs]
        for number in range(len(inputs[0][1])):  # one at a time, as devices ask
            got = session.run(
                [row.name for row in variant.golden.outputs],
                {name: values[number : number + 1] for name, values in inputs},
            )
            for mine, golden in zip(got, want, strict=True):
                difference = numpy.abs(mine.astype("f8") - golden[number : number + 1].astype("f8"))
                worst = max(
                    worst, float(difference.max(initial=0.0)) if not numpy.isnan(difference).any() else float("inf")
                )
    except Exception as error:  # whatever the runtime says of a file that it cannot run
        return f"{variant.name} cannot be asked: {error}"
    if worst > tolerance.max_abs:
        return f"{variant.name} is off by {worst:g} and its tolerance on {PROVIDER} is {tolerance.max_abs:g}"
    return None


def _read(numpy: Any, files: Path, row: TensorFile) -> Any:
    return numpy.fromfile(files / row.file, dtype=_NUMPY[row.datatype]).reshape(row.shape)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
