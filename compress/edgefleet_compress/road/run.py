"""The whole road: a file and inputs in, a package out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from edgefleet_protocol.codec import encode

from ..candidate import Candidate
from ..environment import environment
from ..errors import ExportMismatch, RoadRefused
from ..gates.calibration import ENOUGH
from ..package import variants
from ..package.gates_page import gates_document
from ..package.report import Facts, report
from ..pipeline import LeftOut, Made, Outcome
from ..runtime import Array, folded, open_session, run_all
from ..steps.tidy import tidy
from .agreement import Agreement, agreements, lowest
from .feeding import Fed, feed
from .opening import Opened, every_node, open_bytes, open_file
from .packing import Packed, Part, label_of, pack
from .search import Found, refuse, search

ALLOWED_ERROR = 0.15
"""Of every output, slice by slice: what convolutional networks lose to int8 when it goes well is 0.02 to 0.1."""
GROUPS = 8
BY_CHANCE = 1.5
"""How much larger the error may be on samples that no choice has seen."""
GROWN = 1.1
APART = 24
"""From so many samples on, the figures are of samples that no choice has seen."""


@dataclass(frozen=True)
class Settings:
    """What the user may say."""

    inputs: Path | None = None
    name: str = ""
    fixed: Mapping[str, float] = field(default_factory=dict)
    error: float = ALLOWED_ERROR
    groups: int = GROUPS
    seed: int = 0


@dataclass(frozen=True)
class Travelled:
    """What came of it."""

    packed: Packed
    agreements: tuple[Agreement, ...]
    opened: Opened
    found: Found
    warnings: tuple[str, ...]
    left_float: tuple[str, ...]


def travel(path: Path, settings: Settings, say: Callable[[str], None] = lambda words: None) -> Travelled:
    """Return package and findings; raise RoadRefused when the file cannot be taken or nothing was compressed."""
    opened = open_file(path, settings.fixed)
    fed = feed(opened, settings.inputs, settings.seed)
    for note in fed.opened.notes:
        say(note)
    calibration, choice, judged, apart = _split(fed)
    warnings = _warnings(fed, calibration, apart)
    float_data = _same(fed.opened.data, fed)
    found = search(
        _prepared(fed.opened.data), calibration, choice, settings.error, settings.groups, len(float_data), say
    )
    if found.way is None:
        raise refuse(found, settings.error)
    want = run_all(open_session(float_data, "arm"), judged)
    small = _tidied(found.way.data, judged)
    got = agreements(want, run_all(open_session(small, "arm"), judged))
    missed = max(got, key=lambda entry: entry.error)
    if missed.error > BY_CHANCE * settings.error:
        raise RoadRefused(
            f"nothing was compressed: {found.way.words} has an error of {found.way.error:.3f} on the samples that it was chosen "
            f"by, and of {missed.error:.3f} in {missed.output} on others; {settings.error:g} is allowed. Give more inputs"
        )
    same = tuple(Agreement(entry.output, entry.how, 1.0, 0.0, 0.0) for entry in got)
    samples = len(next(iter(judged.values())))
    warnings += tuple(
        f"{entry.output} agrees in {entry.value:.3f} only ({entry.how}); try the variant on a task before it ships"
        for entry in got
        if entry.value < 0.9
    )
    name = settings.name or label_of(path.stem)
    parts = (
        Part("fp32", float_data, (f"file {path.name}"[:200], *fed.opened.notes, "tidy"), same),
        Part("int8", small, (f"file {path.name}"[:200], *fed.opened.notes, found.way.words, "tidy"), got),
    )
    notes = "Agreement with the original file on unlabelled inputs, not accuracy: " + ", ".join(e.words for e in got)
    packed = pack(name, parts, judged, samples, " ".join([notes + ".", *(f"WARNING: {w}." for w in warnings)]))
    left = found.way.table.flags  # the packed file has short names
    return Travelled(packed, got, fed.opened, found, warnings, left)


def write(out: Path, travelled: Travelled, seed: int) -> None:
    """Write the package folder with its report."""
    packed = travelled.packed
    lineage = {variant.name: tuple(variant.recipe.split(" + ")) for variant in packed.release.variants}
    made = tuple(
        Made(
            v.name, Candidate(onnx=packed.contents.files[v.files[0]], lineage=lineage[v.name]), packed.measures[v.name]
        )
        for v in packed.release.variants
    )
    outcome = Outcome(made, tuple(LeftOut("tried", words) for words in travelled.found.tried))
    facts = Facts(packed.release, outcome, {}, environment(seed, 1), lineage, travelled.warnings, packed.tables)
    packed.contents.beside["report.html"] = report(facts).encode()
    packed.contents.beside["gates.json"] = json.dumps(gates_document(packed.tables, {})).encode()
    variants.write(out, encode(packed.release), packed.contents)


def _split(fed: Fed) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array], bool]:
    """Return samples for ranges, for choices and for figures, and whether the last are apart from the others."""
    if fed.count < 2:
        every = fed.rows(slice(None))
        return every, every, every, False
    if fed.count < APART:
        return fed.rows(slice(0, None, 2)), fed.rows(slice(1, None, 2)), fed.rows(slice(1, None, 2)), False
    half = fed.rows(slice(0, None, 2))
    return half, fed.rows(slice(1, None, 4)), fed.rows(slice(3, None, 4)), True


def _warnings(fed: Fed, calibration: Mapping[str, Array], apart: bool) -> tuple[str, ...]:
    found = []
    count = len(next(iter(calibration.values())))
    if fed.synthetic:
        found.append(f"the inputs are made up ({fed.synthetic}); the agreement says little of the field: give --inputs")
    if count < ENOUGH:
        found.append(f"ranges are measured on {count} samples; below {ENOUGH} they are left to chance")
    if not apart:
        found.append(
            f"{fed.count} samples are too few to keep some apart: the figures are of those that the choice was made on"
        )
    return tuple(found)


def _prepared(data: bytes) -> bytes:
    """Return the file with constants computed and BatchNorm folded, as quantizers want it."""
    ready = open_bytes(folded(data), data)
    if len(ready) > GROWN * len(data):
        return data  # it computes large tables out of a few numbers, which folding would write into the file
    graph = onnx.load_from_string(ready).graph
    # Operators of the runtime's own stand for what quantizers would know by its plain name.
    return ready if all(node.domain in ("", "ai.onnx") for node in every_node(graph)) else data


def _same(data: bytes, fed: Fed) -> bytes:
    """Return the file as it goes into the package as the original, after looking that nothing changed its answers."""
    return _tidied(data, fed.rows(slice(0, 4)))


def _tidied(data: bytes, feeds: Mapping[str, Array]) -> bytes:
    after = tidy(data)
    some = {name: rows[:4] for name, rows in feeds.items()}
    before, now = (run_all(open_session(each, "arm"), some) for each in (data, after))
    if any(not np.array_equal(before[name], now[name], equal_nan=before[name].dtype.kind == "f") for name in before):
        raise ExportMismatch("tidying changed the model's answers; report this model")
    for name, rows in before.items():
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise RoadRefused(f"the model answers NaN or infinity in {name}")
    return after


__all__ = ["Settings", "Travelled", "lowest", "travel", "write"]
