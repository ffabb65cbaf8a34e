"""What to quantize: the ways are tried from the boldest to the most careful, then the most sensitive nodes are taken out.

A way is good when the error of every output stays within what is allowed; of good ways the one with the most int8 work
wins. A file that is not smaller, or has no int8 kernel, is no way at all, whatever it is called.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import CannotQuantize, RoadRefused
from ..gates.coverage import Table, table
from ..runtime import Array, open_session, run_all
from ..steps.head import HEAVY, tail
from ..steps.tidy import tidy
from .agreement import Agreement, agreements, lowest
from .candidates import DYNAMIC, EVERY, Calibrated, dynamic, heavy_names, operators_of

SMALLER = 0.95
"""At most this share of the original's bytes: less is not called compressed."""


@dataclass(frozen=True)
class Way:
    """One quantized file."""

    words: str
    data: bytes
    agreements: tuple[Agreement, ...]
    table: Table
    float_nodes: frozenset[str] = frozenset()
    """Left in floating point on purpose."""

    @property
    def error(self) -> float:
        """Of the worst output."""
        return max(entry.error for entry in self.agreements)


@dataclass(frozen=True)
class Found:
    """The best way, and what became of the others."""

    way: Way | None
    tried: tuple[str, ...]


Say = Callable[[str], None]


def search(
    data: bytes,
    calibration: Mapping[str, Array],
    judged: Mapping[str, Array],
    allowed: float,
    groups: int,
    original_bytes: int,
    say: Say = lambda words: None,
) -> Found:
    """Return the best way to quantize `data`. allowed: largest error of an output. groups: how finely nodes are
    looked at when some must stay in floating point."""
    want = run_all(open_session(data, "arm"), judged)
    tried: list[str] = []
    good: list[Way] = []

    def attempt(
        words: str, make: Callable[[], bytes], float_nodes: frozenset[str] = frozenset(), part: bool = False
    ) -> Way | None:
        try:
            made = make()
            size = len(tidy(made))
            if size > SMALLER * original_bytes and not part:
                raise CannotQuantize(
                    f"the file has {size} bytes and the original {original_bytes}: nothing really changed"
                )
            found = table(made, "arm")
            if not found.int8:
                raise CannotQuantize("no node of it runs on an int8 kernel: nothing really changed")
            got = run_all(open_session(made, "arm"), judged)
        except (CannotQuantize, ValueError, RuntimeError) as error:
            _note(f"{words}: {error}")
            return None
        except Exception as error:  # the runtime's own exceptions, for a file that it will not run
            _note(f"{words}: onnxruntime does not run it: {str(error).splitlines()[0][:160]}")
            return None
        way = Way(words, made, agreements(want, got), found, float_nodes)
        _note(f"{words}: error {way.error:.3f}, {found.int8}/{found.all} int8, {size / 1000:.0f} kB")
        return way

    def _note(words: str) -> None:
        tried.append(words)
        say(words)

    operators = operators_of(data)
    careful: list[tuple[tuple[str, ...], frozenset[str], str]] = []
    calibrated = None
    if operators & set(HEAVY):
        behind = tail(data)
        careful = [
            (EVERY, frozenset(), "int8"),
            (EVERY, behind, "int8, head float"),
            (HEAVY, behind, "int8, only convolutions and matrix products"),
        ]
        try:
            calibrated = Calibrated(data, calibration)
        except CannotQuantize as error:
            _note(f"int8: {error}")
    careful_way: Way | None = None
    if calibrated is not None:
        for kinds, nodes, words in careful:
            way = attempt(words, lambda kinds=kinds, nodes=nodes: calibrated.quantized(kinds, nodes), nodes)  # type: ignore[misc]
            if way is None:
                continue
            if way.error <= allowed:
                good.append(way)
                break
            careful_way = way  # the last is the most careful: light nodes, which no search takes out, are float in it
        if not good and careful_way is not None:
            good += _by_sensitivity(calibrated, careful_way, HEAVY, allowed, groups, attempt)
    if (operators & set(DYNAMIC) and "Conv" not in operators) or (operators & {"LSTM"} and not good):
        way = attempt("int8 weights (dynamic)", lambda: dynamic(data, ("MatMul", "Gemm", "LSTM", "Attention")))
        if way is not None and way.error <= allowed:
            good.append(way)
    elif good and "LSTM" in operators:
        way = attempt(
            f"{good[-1].words} + LSTM (dynamic)", lambda: dynamic(good[-1].data, ("LSTM",)), good[-1].float_nodes
        )
        if way is not None and way.error <= allowed:
            good.append(way)
    if not good:
        return Found(None, tuple(tried))
    return Found(min(good, key=lambda way: (len(way.data), way.error)), tuple(tried))


class Attempt(Protocol):
    """Makes a file and looks at it; None where there is none, or, unless it is one of several parts, it changed nothing."""

    def __call__(
        self, words: str, make: Callable[[], bytes], float_nodes: frozenset[str] = frozenset(), part: bool = False
    ) -> Way | None:
        """Return the way."""


def _by_sensitivity(
    calibrated: Calibrated, start: Way, kinds: tuple[str, ...], allowed: float, groups: int, attempt: Attempt
) -> list[Way]:
    """Return the way within the limit that leaves as few nodes as possible in floating point, or nothing.

    Each group of neighbouring nodes is quantized alone, all others in floating point: its error is its sensitivity. Then the
    most sensitive groups are left out, one more each time, until the rest is good.
    """
    names = [name for name in heavy_names(calibrated.data) if name not in start.float_nodes]
    size = max(1, -(-len(names) // groups))
    parts = [frozenset(names[place : place + size]) for place in range(0, len(names), size)]
    every, sensitive = frozenset(names), []
    for number, part in enumerate(parts):
        nodes = start.float_nodes | (every - part)
        alone = attempt(
            f"  sensitivity of nodes {number * size + 1} to {number * size + len(part)} of {len(names)}",
            lambda nodes=nodes: calibrated.quantized(kinds, nodes),  # type: ignore[misc]
            nodes,
            part=True,
        )
        sensitive.append((1.0 if alone is None else alone.error, number))
    sensitive.sort(reverse=True)
    nodes = start.float_nodes
    for _, number in sensitive[:-1]:
        nodes = nodes | parts[number]
        words = f"{start.words}, {len(nodes - start.float_nodes)} of {len(names)} float by sensitivity"
        way = attempt(words, lambda nodes=nodes: calibrated.quantized(kinds, nodes), nodes)  # type: ignore[misc]
        if way is not None and way.error <= allowed:
            return [way]
    return []


def refuse(found: Found, allowed: float) -> RoadRefused:
    """Return the error for a file of which nothing could be made, with all that was tried."""
    lines = "\n  ".join(found.tried) or "nothing in it has an int8 kernel"
    return RoadRefused(
        f"nothing was compressed: no way of quantizing keeps every output within an error of {allowed:g}. Tried:\n  {lines}\n"
        "Allow more with --error, give inputs like those of the field, or bring the model as a workload, where training can help"
    )


__all__ = ["Found", "Way", "lowest", "refuse", "search"]
