"""Open every variant of the packages named, with the onnxruntime of this environment, and ask its golden inputs.

Needs nothing but numpy and onnxruntime: it runs with the oldest ones. A variant whose manifest names a newer runtime is
not opened, and that is said. The exit code is 1 when one that should open does not, or answers otherwise.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

TYPES = {
    "FP32": "<f4",
    "FP16": "<f2",
    "FP64": "<f8",
    "UINT8": "u1",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "BOOL": "?",
}


def load(folder: Path, tensor: dict[str, Any]) -> Any:
    """Return a golden tensor."""
    return np.frombuffer((folder / "files" / tensor["file"]).read_bytes(), TYPES[tensor["datatype"]]).reshape(
        tensor["shape"]
    )


def version(text: str) -> tuple[int, ...]:
    """Return `1.19.2` as numbers."""
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def check(folder: Path, variant: dict[str, Any], inputs: dict[str, Any]) -> tuple[bool, str]:
    """Return whether all is as it should be, and what happened."""
    needs = variant.get("requires", {}).get("min_runtime", "1.19.0")
    if version(onnxruntime.__version__) < version(needs):
        return True, f"not for it: needs {needs}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # The graph that Arm gets: on x86 the runtime would otherwise build another one, with another arithmetic.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "files" / variant["files"][0]), options, providers=["CPUExecutionProvider"]
        )
        names = [output["name"] for output in variant["golden"]["outputs"]]
        count = len(next(iter(inputs.values())))
        parts = [session.run(names, {name: rows[i : i + 1] for name, rows in inputs.items()}) for i in range(count)]
    except Exception as error:  # whatever it raises is the finding
        return False, f"does not run: {str(error).splitlines()[0][:160]}"
    allowed = variant["golden"]["tolerances"][0]["max_abs"]
    apart = 0.0
    for place, output in enumerate(variant["golden"]["outputs"]):
        got = np.concatenate([part[place] for part in parts]).astype(np.float64)
        apart = max(apart, float(np.abs(got - load(folder, output).astype(np.float64)).max()))
    return apart <= allowed, f"opens, answers within {apart:.2g} of {allowed:.2g} allowed"


def main(folders: list[str]) -> int:
    """Check all packages; return 1 when something is not as it should be."""
    bad = 0
    for name in folders:
        folder = Path(name)
        release = json.loads((folder / "release.json").read_text())
        inputs = {tensor["name"]: load(folder, tensor) for tensor in release["golden_inputs"]}
        for variant in release["variants"]:
            good, words = check(folder, variant, inputs)
            bad += not good
            print(
                f"onnxruntime {onnxruntime.__version__:<8} {release['model']}/{variant['name']:<20} {'ok ' if good else 'BAD'} {words}",
                flush=True,
            )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
