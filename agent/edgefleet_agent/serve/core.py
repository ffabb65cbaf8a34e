"""One open model behind every door: its tensors, its turn in the queue, and what is counted of each request."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edgefleet_protocol.names import parse_release_name

from ..seams import WorkerSpec
from .counters import Counters
from .errors import Refused
from .model import Model
from .runtime import Array
from .tensors import confidence


@dataclass(frozen=True)
class Ran:
    """What the model said, and how long that took."""

    results: dict[str, Array]
    waited_s: float
    """For its turn."""
    computed_s: float


class Turn(Protocol):
    """Lets one request at a time to the model."""

    def __call__(self, run: Any, deadline: float | None = None) -> Ran:
        """Return what `run` returns; raise Refused, with 503 when too many wait, with 504 beyond `deadline`."""


class Core:
    """What all doors share."""

    def __init__(self, spec: WorkerSpec, model: Model, counters: Counters, turn: Turn) -> None:
        self.spec, self.counters = spec, counters
        self._model, self._turn = model, turn
        self.version = str(parse_release_name(spec.release)[1])
        self.inputs = {tensor.name: tensor for tensor in model.inputs}
        self.outputs = {tensor.name: tensor for tensor in model.outputs}
        self._meaning = spec.interface.outputs[0].meaning if spec.interface.task == "classification" else None
        self._first = model.outputs[0].name
        self.who = {
            "release": spec.release,
            "variant": spec.variant,
            "variant_sha256": spec.variant_sha256,
        }
        """Who answers: part of every answer."""

    def run(self, inputs: Mapping[str, Array], deadline: float | None) -> Ran:
        """Return what the model says to `inputs`, which fit; raise Refused."""
        return self._turn(lambda: self._model.session.run(inputs), deadline)

    def answered(self, began: float, ran: Ran) -> None:
        """Count an answer. `began`: by `time.perf_counter`."""
        self.counters.answered(time.perf_counter() - began, time.time(), ran.waited_s, ran.computed_s)

    def told(self, ran: Ran) -> None:
        """Look at what was answered, for drift. After the answer is on its way: nobody waits for it."""
        if self._meaning is not None:
            self.counters.confident(confidence(ran.results[self._first], self._meaning))

    def refused(self, began: float, error: Refused) -> None:
        """Count a request that got `error`. One that is too late for its sender is no fault of the model."""
        by_us = error.status >= 500 and error.status not in (501, 504)
        self.counters.refused(time.perf_counter() - began, by_us=by_us)

    def names(self) -> str:
        """The inputs in words, for errors."""
        return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in self.inputs.values())


def check_shape(value: object, name: str, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return `value` as a shape that fits `wanted`; raise Refused for anything else."""
    plain = isinstance(value, list) and all(isinstance(size, int) and not isinstance(size, bool) for size in value)
    shape: tuple[int, ...] = tuple(value) if plain and isinstance(value, list) else ()
    fits = len(shape) == len(wanted) and all(
        0 < size < 2**31 if want == -1 else size == want for size, want in zip(shape, wanted, strict=True)
    )
    if not plain or not fits:
        raise Refused(400, f"input {name} has shape {str(value)[:100]} and must be {list(wanted)}")
    return shape
