"""How long one inference takes on this machine."""

import statistics
import time
from collections.abc import Mapping, Sequence

from ..runtime import Array, open_session

WARM_UP = 20
RUNS = 300
LONGEST_S = 5.0
"""Slow models are timed less often, but never fewer than 20 times."""


def latency_p50_s(model: bytes, inputs: Array) -> float:
    """Return the median seconds of one inference: batch 1, one thread, as onnxruntime runs it here."""
    name = open_session(model, "default").get_inputs()[0].name
    return latency_of_p50_s(model, [{name: inputs[number : number + 1]} for number in range(min(len(inputs), 100))])


def latency_of_p50_s(model: bytes, samples: Sequence[Mapping[str, Array]]) -> float:
    """Return the same for samples with any number of inputs."""
    session = open_session(model, "default", threads=1)
    start = time.perf_counter()
    for number in range(WARM_UP):
        session.run(None, samples[number % len(samples)])
        if time.perf_counter() - start > LONGEST_S:
            break
    taken: list[float] = []
    end = time.perf_counter() + LONGEST_S
    while len(taken) < RUNS and (len(taken) < WARM_UP or time.perf_counter() < end):
        sample = samples[len(taken) % len(samples)]
        start = time.perf_counter()
        session.run(None, sample)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
