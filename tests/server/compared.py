"""Fleets whose devices measured a model before and after, with the spread that boards have. All of it from one seed."""

import math
from collections.abc import Iterator
from random import Random

from edgefleet_server.rollouts.pairs import Pair


def fleet(
    devices: int,
    seed: int,
    *,
    slower_percent: float = 0.0,
    error_points: float = 0.0,
    spread: float = 0.04,
    error_percent: float = 0.5,
    requests: int = 200,
    classes: tuple[str, ...] = ("pi4",),
) -> Iterator[Pair]:
    """Yield one pair after the other, as they come in."""
    random = Random(seed)
    for number in range(devices):
        yield Pair(
            device=f"d{number}",
            hardware_class=classes[number % len(classes)],
            at_s=float(number),
            before="fashion/1",
            requests_before=10 * requests,
            requests_after=requests,
            errors_before=_errors(random, 10 * requests, error_percent / 100),
            errors_after=_errors(random, requests, (error_percent + error_points) / 100),
            latency=random.gauss(math.log1p(slower_percent / 100), spread),
        )


def _errors(random: Random, requests: int, rate: float) -> int:
    """A Poisson number, as good as binomial where errors are rare."""
    bound, found, product = math.exp(-requests * rate), -1, 1.0
    while product > bound:
        product *= random.random()
        found += 1
    return min(found, requests)
