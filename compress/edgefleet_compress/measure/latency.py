"""How long one inference takes on this machine."""

import statistics
import time

from ..runtime import Array, open_session

WARM_UP = 20
RUNS = 300
LONGEST_S = 5.0
"""Slow models are timed less often, but never fewer than 20 times."""


def latency_p50_s(model: bytes, inputs: Array) -> float:
    """Return the median seconds of one inference: batch 1, one thread, as onnxruntime runs it here."""
    session = open_session(model, "default", threads=1)
    name = session.get_inputs()[0].name
    samples = [{name: inputs[number : number + 1]} for number in range(min(len(inputs), 100))]
    for number in range(WARM_UP):
        session.run(None, samples[number % len(samples)])
    taken: list[float] = []
    end = time.perf_counter() + LONGEST_S
    while len(taken) < RUNS and (len(taken) < WARM_UP or time.perf_counter() < end):
        sample = samples[len(taken) % len(samples)]
        start = time.perf_counter()
        session.run(None, sample)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
