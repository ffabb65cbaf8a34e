"""A few ways to set up a session, each measured for a fraction of a second in the trial. What is best is kept per board."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from .. import tuning
from ..seams import WorkerSpec
from ..tuning import Tuning
from . import golden
from .memory import give_back, pss_bytes
from .messages import Tried
from .model import Model
from .providers import CPU
from .runtime import Array
from .tensors import to_raw

BUDGET_S = 1.2
"""For all ways together, opening included: trials stay quick."""
EACH_S = 0.2
MIN_RUNS, MAX_RUNS = 5, 60

Inputs = Sequence[dict[str, Array]]


def tunable(provider: str) -> bool:
    """Return whether threads, spinning and arenas mean anything on `provider`."""
    return provider == CPU


def tuned(spec: WorkerSpec, report: Tried, inputs: Inputs, reopen: Callable[[WorkerSpec, Tuning], Model]) -> Tried:
    """Return `report` with the best way to set up the session of a model that has passed as it is.

    Another way wins only if its golden answers are right too; whatever goes wrong with it, the model stays good as it is.
    """
    assert spec.tune is not None
    plain = Tuning(spec.threads)
    base = _tried(spec, plain, inputs, reopen)
    if base is None:
        return report
    end, rows = time.perf_counter() + BUDGET_S, list[tuning.Tried]()
    for way in tuning.candidates(plain, spec.tune):
        # Opening it again takes as long as it took first.
        if time.perf_counter() + (report.load_s or 0.0) + EACH_S > end:
            break
        row = _tried(spec, way, inputs, reopen)
        if row is not None:
            rows.append(row)
    chosen, why = tuning.best(base, rows, spec.tune.objective)
    if chosen is base:
        return msgspec.structs.replace(report, tuning=plain, tuning_why=why)
    ratio = chosen.latency_s / max(base.latency_s, 1e-9)
    grown = max(0, (chosen.memory_bytes or 0) - (base.memory_bytes or 0)) if chosen.memory_bytes else 0
    return msgspec.structs.replace(
        report,
        tuning=chosen.tuning,
        tuning_why=why,
        # Its own few runs are too few for a quantile: those of the long measurement, in the same proportion.
        latency_p50_s=(report.latency_p50_s or 0.0) * ratio,
        latency_p95_s=(report.latency_p95_s or 0.0) * ratio,
        memory_bytes=report.memory_bytes + grown if report.memory_bytes is not None else None,
    )


def _tried(
    spec: WorkerSpec, way: Tuning, inputs: Inputs, reopen: Callable[[WorkerSpec, Tuning], Model]
) -> tuning.Tried | None:
    """Return what `way` was measured to need; None when its answers are wrong or it cannot be opened so."""
    give_back()  # else the next session is measured as if it needed nothing
    before = pss_bytes(Path("/proc/self"))
    try:
        model = reopen(spec, way)
        if _wrong(spec, model, inputs) is not None:
            return None
        return _measure(way, model, inputs, before)
    except Exception:  # the plain way has passed, and a way that fails is simply not taken
        return None


def _wrong(spec: WorkerSpec, model: Model, inputs: Inputs) -> str | None:
    answers = [
        {row.name: bytes(to_raw(found[row.name], row.datatype)) for row in spec.golden.outputs}
        for found in map(model.session.run, inputs)
    ]
    return golden.compare(answers, spec.golden_folder, spec.golden, spec.interface, spec.provider)


def _measure(way: Tuning, model: Model, inputs: Inputs, before: int | None) -> tuning.Tried:
    """Return what one inference takes: the median of the time, the mean of the processor time."""
    seconds: list[float] = []
    end, cpu = time.perf_counter() + EACH_S, time.process_time()
    while len(seconds) < MIN_RUNS or (len(seconds) < MAX_RUNS and time.perf_counter() < end):
        began = time.perf_counter()
        model.session.run(inputs[len(seconds) % len(inputs)])
        seconds.append(time.perf_counter() - began)
    spent = (time.process_time() - cpu) / len(seconds)
    after = pss_bytes(Path("/proc/self"))
    grown = max(0, after - before) if after is not None and before is not None else None
    return tuning.Tried(way, sorted(seconds)[len(seconds) // 2], spent, grown)
