"""A trial, inside its own process: do the golden answers come out, how fast, and with how much memory?"""

import time
from collections.abc import Callable
from pathlib import Path

from ..seams import WorkerSpec
from ..tuning import Tuning
from . import golden
from .memory import peak_bytes
from .messages import Tried
from .model import Model
from .runtime import Array
from .tensors import from_raw, to_raw
from .tune import tunable, tuned

MIN_RUNS = 8
MAX_RUNS = 200
TIMED_S = 2.0
"""How long it is measured, at most: a slow board still needs its CPU for what it serves meanwhile."""


def try_model(
    spec: WorkerSpec, model: Model, load_s: float, wall_s: float, reopen: Callable[[WorkerSpec, Tuning], Model]
) -> Tried:
    """Return the report for `model`. The first answer warms up and is not timed.

    reopen: opens the model in another way of setting up its session; the best of a few is what the report tells.
    """
    inputs = [_arrays(spec, sample) for sample in golden.samples(spec.golden_folder, spec.golden_inputs)]
    answers = [raw_answer(spec, model.session.run(sample)) for sample in inputs]
    why = golden.compare(answers, spec.golden_folder, spec.golden, spec.interface, spec.provider)
    if why is not None:
        return Tried(ok=False, reason=why, load_s=load_s, memory_bytes=peak_bytes(Path("/proc/self")))
    seconds = _time(model, inputs, min(TIMED_S, wall_s / 4, (spec.cpu_limit_s or 1e9) / 4))
    peak = peak_bytes(Path("/proc/self"))
    limit = spec.memory_limit_bytes
    if limit is not None and peak is not None and peak > limit:
        why = f"it used {peak / 1e6:.1f} MB of memory and its release allows {limit / 1e6:.1f} MB"
    report = Tried(
        ok=why is None,
        reason=why or f"all {len(answers)} golden answers are within tolerance",
        latency_p50_s=_quantile(seconds, 0.5),
        latency_p95_s=_quantile(seconds, 0.95),
        load_s=load_s,
        memory_bytes=peak,
    )
    if why is not None or spec.tune is None or not tunable(spec.provider):
        return report
    return tuned(spec, report, inputs, reopen)


def warm_up(spec: WorkerSpec, model: Model) -> None:
    """Answer one golden sample, so that the first application does not pay for what a runtime does only once."""
    model.session.run(_arrays(spec, next(golden.samples(spec.golden_folder, spec.golden_inputs))))


def _time(model: Model, inputs: list[dict[str, Array]], budget_s: float) -> list[float]:
    seconds: list[float] = []
    end = time.perf_counter() + budget_s
    while len(seconds) < MIN_RUNS or (len(seconds) < MAX_RUNS and time.perf_counter() < end):
        began = time.perf_counter()
        model.session.run(inputs[len(seconds) % len(inputs)])
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _arrays(spec: WorkerSpec, sample: golden.Sample) -> dict[str, Array]:
    return {
        tensor.name: from_raw(
            memoryview(sample[tensor.name]), tensor.datatype, tuple(golden.sample_shape(tensor)), tensor.name
        )
        for tensor in spec.golden_inputs
    }


def raw_answer(spec: WorkerSpec, results: dict[str, Array]) -> dict[str, bytes]:
    return {tensor.name: bytes(to_raw(results[tensor.name], tensor.datatype)) for tensor in spec.golden.outputs}
