"""The inputs of an ONNX file: from an .npz file, from a folder of samples or one with a folder for each input, or made up.

Samples are rows: row i of each array is sample i. A model whose input has no room for that (a state of (2, 1, 128), a
single number) gets it: a dimension in front that the graph takes off again, so that all inputs and outputs of a release
count samples in their first dimension.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import RoadRefused
from ..runtime import Array, open_session
from .opening import Opened, every_node, opset_of

_NOT_PLAIN = re.compile(r"[^\w.-]")
"""In a folder's name, each of these is an underscore: inputs may be called `input:0` or `a/b`."""
SYNTHETIC_SAMPLES = 32
FREE_SIZE = {1: 16000, 2: 512, 3: 64, 4: 224}
"""What a free dimension becomes in made-up inputs, by rank: sound, sound in rows, features, pictures."""


@dataclass(frozen=True)
class Fed:
    """A model and inputs that it takes, sample by sample."""

    opened: Opened
    feeds: Mapping[str, Array]
    synthetic: str = ""
    """How the inputs were made up, in words; empty where they were given."""

    @property
    def count(self) -> int:
        """Samples."""
        return len(next(iter(self.feeds.values())))

    def rows(self, chosen: slice) -> dict[str, Array]:
        """Return some samples."""
        return {name: rows[chosen] for name, rows in self.feeds.items()}


def feed(opened: Opened, path: Path | None, seed: int = 0) -> Fed:
    """Return model and inputs; raise RoadRefused, naming input, shape and type, where they do not fit."""
    values = list(opened.model.graph.input)
    given, synthetic = _read(path, [value.name for value in values]) if path is not None else ({}, "")
    if path is None:
        given, synthetic = _synthetic(opened, seed)
    feeds: dict[str, Array] = {}
    framed: list[str] = []
    for value in values:
        kind = value.type.tensor_type
        rank = len(kind.shape.dim)
        want = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        rows = given[value.name]
        if not np.can_cast(rows.dtype, want, "same_kind"):
            raise RoadRefused(f"the input {value.name} is {want} and the samples are {rows.dtype}")
        rows = rows.astype(want)
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise RoadRefused(f"the samples of {value.name} hold NaN or infinity")
        if rows.ndim == rank + 1:
            framed.append(value.name)
        elif rows.ndim != rank or rank == 0:
            raise RoadRefused(
                f"the input {value.name} has {rank} dimensions ({_shape(value)}) and the samples {rows.ndim} "
                f"({list(rows.shape)}); the first counts samples"
            )
        feeds[value.name] = np.ascontiguousarray(rows)
    counts = {name: len(rows) for name, rows in feeds.items()}
    if len(set(counts.values())) > 1 or not min(counts.values()):
        raise RoadRefused(f"each input needs as many samples as the others, and there are {counts}")
    opened = _freed(opened, feeds, framed)
    outputs = _outputs_without_room(opened, feeds, framed)
    if framed or outputs:
        opened = _frame(opened, framed, outputs)
    return Fed(opened, feeds, synthetic)


def _read(path: Path, names: list[str]) -> tuple[dict[str, Array], str]:
    if path.is_dir():
        if any(entry.is_dir() for entry in path.iterdir()):
            return _folders(path, names), ""
        files = sorted(file for file in path.iterdir() if file.suffix in (".npy", ".npz"))
        if not files:
            raise RoadRefused(
                f"{path} holds no .npy and no .npz file, each one sample as the model takes it, and no folder for each input"
            )
        samples = [_arrays(file, names) for file in files]
        try:
            return {name: _join([sample[name] for sample in samples]) for name in names}, ""
        except ValueError as error:
            raise RoadRefused(f"{path}: the samples differ in shape: {error}") from error
    return _arrays(path, names), ""


def _folders(path: Path, names: list[str]) -> dict[str, Array]:
    """Return the samples of a folder for each input, called as the input is; one sample has the same file name in each."""
    places = {name: path / _NOT_PLAIN.sub("_", name) for name in names}
    if missing := [place.name for place in places.values() if not place.is_dir()]:
        raise RoadRefused(f"{path} has no folder {', '.join(missing)}: there is to be one for each input, by its name")
    files = {name: sorted(file.name for file in place.glob("*.npy")) for name, place in places.items()}
    every = {file for found in files.values() for file in found}
    for name, found in files.items():
        if lacking := sorted(every - set(found)):
            raise RoadRefused(
                f"{places[name]} has no {lacking[0]}, which another input has: a sample needs all its inputs"
            )
    if not every:
        raise RoadRefused(
            f"the folders {', '.join(place.name for place in places.values())} of {path} hold no .npy file"
        )
    try:
        return {
            name: _join([next(iter(_arrays(places[name] / file, [name]).values())) for file in sorted(every)])
            for name in names
        }
    except ValueError as error:
        raise RoadRefused(f"{path}: the samples differ in shape: {error}") from error


def _arrays(path: Path, names: list[str]) -> dict[str, Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RoadRefused(f"{path} is no .npy or .npz file of plain numbers: {error}") from error
    if isinstance(loaded, np.ndarray):
        if len(names) != 1:
            raise RoadRefused(
                f"{path} holds one array and the model has the inputs {', '.join(names)}: give an .npz file"
            )
        return {names[0]: loaded}
    arrays = {name: loaded[name] for name in loaded.files}
    if len(names) == 1 and len(arrays) == 1:
        return {names[0]: next(iter(arrays.values()))}
    if missing := [name for name in names if name not in arrays]:
        raise RoadRefused(
            f"{path} has the arrays {', '.join(arrays)}; missing are {', '.join(missing)}, by the names of the inputs"
        )
    return {name: arrays[name] for name in names}


def _join(parts: list[Array]) -> Array:
    """Samples that have a first dimension of 1 are rows already; others are stacked."""
    return np.concatenate(parts) if all(part.ndim and len(part) == 1 for part in parts) else np.stack(parts)


def _synthetic(opened: Opened, seed: int) -> tuple[dict[str, Array], str]:
    """Return noise that goes through the model as data did: its level and spread are those that the BatchNorms have seen."""
    from .statistics import fit

    draw = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for value in opened.model.graph.input:
        kind = value.type.tensor_type
        want = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        sizes = [dimension.dim_value for dimension in kind.shape.dim]
        shape = [size if size > 0 else FREE_SIZE.get(len(sizes), 16) for size in sizes[1:]]
        if want.kind in "iu":
            made[value.name] = draw.integers(0, 2, (SYNTHETIC_SAMPLES, *shape)).astype(want)
        else:
            made[value.name] = draw.normal(size=(SYNTHETIC_SAMPLES, *shape)).astype(want)
        if not sizes:
            made[value.name] = np.ones(SYNTHETIC_SAMPLES, want)
    found = fit(opened.model, made)
    if found is None:
        return made, "noise, because there are no inputs and no BatchNorm says what they look like: ranges are a guess"
    scale, shift = found
    scaled = {
        name: (rows * scale + shift).astype(rows.dtype) if rows.dtype.kind == "f" else rows
        for name, rows in made.items()
    }
    return (
        scaled,
        f"noise around {shift:g} with a spread of {scale:g}, at which the BatchNorms see what they saw in training",
    )


def _shape(value: onnx.ValueInfoProto) -> str:
    return (
        "x".join(str(d.dim_value or d.dim_param or "?") for d in value.type.tensor_type.shape.dim) or "a single number"
    )


def _freed(opened: Opened, feeds: Mapping[str, Array], framed: list[str]) -> Opened:
    """Return the model without sizes that an exporter wrote down and the samples do not have, such as its own batch."""
    notes = []
    for value in opened.model.graph.input:
        if value.name in framed:
            continue
        shape = _shape(value)
        for place, dimension in enumerate(value.type.tensor_type.shape.dim):
            has = 1 if place == 0 else feeds[value.name].shape[place]
            if dimension.dim_value not in (0, has):
                dimension.dim_param = "batch" if place == 0 else f"{value.name}_{place}"
        if (now := _shape(value)) != shape:
            notes.append(f"its input {value.name} said {shape}, which the samples do not have; now {now}")
    if not notes:
        return opened
    for value in opened.model.graph.output:
        for place, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.dim_param = "batch" if place == 0 else f"{value.name}_{place}"
    del opened.model.graph.value_info[:]
    return replace(opened, notes=(*opened.notes, *notes))


def _outputs_without_room(opened: Opened, feeds: Mapping[str, Array], framed: list[str]) -> list[str]:
    """Return the outputs whose first dimension does not count samples: for one sample it is not 1."""
    session = open_session(opened.data, "default")
    sample = {name: rows[0] if name in framed else rows[:1] for name, rows in feeds.items()}
    try:
        results = session.run(None, sample)
    except Exception as error:  # the runtime's own exceptions have no common base
        raise RoadRefused(f"the model cannot answer the first sample: {str(error).splitlines()[0][:300]}") from error
    found = []
    for output, result in zip(session.get_outputs(), results, strict=True):
        if not isinstance(result, np.ndarray):
            raise RoadRefused(f"the output {output.name} is a {type(result).__name__}, and only tensors can be served")
        if result.ndim == 0 or len(result) != 1 or framed:
            found.append(output.name)
    return found


def _frame(opened: Opened, inputs: list[str], outputs: list[str]) -> Opened:
    """Put a dimension before these inputs and outputs, under the same names."""
    graph = opened.model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "frame_axis"))
    renamed = {name: f"{name}_framed" for name in (*inputs, *outputs)}
    for node in every_node(graph):  # graphs inside graphs may read them too
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                side[place] = renamed.get(name, name)
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                for value in inner.output:
                    value.name = renamed.get(value.name, value.name)
    front = [
        helper.make_node("Squeeze", [name, "frame_axis"], [renamed[name]], name=f"frame_{name}") for name in inputs
    ]
    back = [
        helper.make_node("Unsqueeze", [renamed[name], "frame_axis"], [name], name=f"frame_{name}") for name in outputs
    ]
    nodes = [*front, *graph.node, *back]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.name in renamed:
            dimensions = [onnx.TensorShapeProto.Dimension(dim_value=1)] + [
                onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString())
                for d in value.type.tensor_type.shape.dim
            ]
            if value.name in outputs:
                dimensions = [onnx.TensorShapeProto.Dimension(dim_value=1)] + [
                    onnx.TensorShapeProto.Dimension(dim_param=f"{value.name}_{n}") for n in range(len(dimensions) - 1)
                ]
            del value.type.tensor_type.shape.dim[:]
            value.type.tensor_type.shape.dim.extend(dimensions)
    assert opset_of(opened.model) >= 13  # where Squeeze takes its axes as an input
    what = ", ".join((*inputs, *(name for name in outputs if name not in inputs)))
    return replace(opened, notes=(*opened.notes, f"a first dimension that counts samples was put before {what}"))
