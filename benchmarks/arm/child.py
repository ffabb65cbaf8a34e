"""Run in the emulator, by its Python: answer rows with each model of an order, one at a time on one thread.

Needs numpy and onnxruntime alone. `child.py ORDER` reads `{"work": [{"name", "model", "inputs", "outputs"}]}`:
`inputs` are .npz files of arrays whose first dimension counts rows. It prints one line of JSON about the processor and the
runtime, and one for each piece of work, whose answers it writes. With COUNT in the environment it asks the marks of counter.c around COUNT inferences instead.
"""

import contextlib
import json
import os
import sys
import time
from typing import Any

import numpy as np
import onnxruntime


def main(order: str) -> None:
    """Do all work of the order."""
    with open(order) as file:  # noqa: PTH123 - each import costs a second in the emulator
        asked = json.load(file)
    onnxruntime.set_default_logger_severity(3)
    print(json.dumps({"features": features(), "onnxruntime": onnxruntime.__version__}), flush=True)
    for work in asked["work"]:
        inputs = dict(np.load(work["inputs"]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        began = time.monotonic()
        try:
            session = onnxruntime.InferenceSession(work["model"], options, providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            count(session, inputs) if "COUNT" in os.environ else answer(session, inputs, names, work)
        except Exception as error:  # whatever the runtime raises is the finding
            print(json.dumps({"name": work["name"], "error": str(error).splitlines()[0][:300]}), flush=True)
            continue
        print(json.dumps({"name": work["name"], "seconds": round(time.monotonic() - began, 1)}), flush=True)


def features() -> list[str]:
    """Return the instruction sets that the processor says it has."""
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        lines = [line.partition(":")[2].split() for line in file if line.startswith(("Features", "flags"))]
    return lines[0] if lines else []


def answer(session: Any, inputs: dict[str, Any], names: list[str], work: dict[str, Any]) -> None:
    """Write the answers to every row."""
    every = len(next(iter(inputs.values())))
    parts = [session.run(names, row(inputs, number)) for number in range(every)]
    joined = {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(names)}
    np.savez(work["outputs"], **joined)  # type: ignore[arg-type]


def count(session: Any, inputs: dict[str, Any]) -> None:
    """Warm up, then run between two marks."""
    session.run(None, row(inputs, 0))
    mark()
    for _ in range(int(os.environ["COUNT"])):
        session.run(None, row(inputs, 0))
    mark()


def mark() -> None:
    """Tell counter.c that what counts begins or ends here."""
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(int(os.environ["MARK"]))


def row(inputs: dict[str, Any], number: int) -> dict[str, Any]:
    """Return one row of every input."""
    return {name: values[number : number + 1] for name, values in inputs.items()}


main(sys.argv[1])
