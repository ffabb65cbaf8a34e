"""A package of files with any number of inputs and outputs: interface, golden inputs and answers, agreement."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import onnx
from onnx import helper

from edgefleet_protocol.codec import encode
from edgefleet_protocol.manifest import (
    Accuracy,
    Golden,
    InputSpec,
    Interface,
    OutputSpec,
    Release,
    Requirement,
    Tolerance,
    Variant,
)
from edgefleet_protocol.onnx_guard import guard

from ..errors import CompressError, PackageError
from ..gates.coverage import Table, table
from ..measure import Measures
from ..measure.latency import latency_of_p50_s
from ..measure.macs import Macs, count_macs
from ..measure.memory import peak_memory_bytes
from ..measure.size import wire_bytes
from ..package.golden import FLOAT_NOISE, GOLDEN_SAMPLES, QUANTIZATION_STEPS, SPREAD_FACTOR, certain_top1, output_step
from ..package.variants import Contents, verify
from ..runtime import Array, Rules, open_session, run_all
from ..targets import latency_table
from .agreement import Agreement, lowest

DATATYPES = {
    "float32": "FP32", "float16": "FP16", "float64": "FP64", "uint8": "UINT8", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "bool": "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One variant to be packed."""

    name: str
    data: bytes
    lineage: tuple[str, ...]
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True)
class Packed:
    """What `pack` made."""

    release: Release
    contents: Contents
    measures: Mapping[str, Measures]
    tables: Mapping[str, Table]


def pack(
    model: str, parts: tuple[Part, ...], feeds: Mapping[str, Array], samples: int, notes: str, task: str = "other",
    labels: tuple[str, ...] = (),
) -> Packed:  # fmt: skip
    """Return the release of `parts`, the first of which is the original. feeds: inputs that golden ones are taken from."""
    golden = {name: rows[:GOLDEN_SAMPLES] for name, rows in feeds.items()}
    contents = Contents()
    first = run_all(open_session(parts[0].data, "arm"), golden)
    interface = _interface(parts[0].data, golden, first, task, labels)
    inputs = tuple(
        contents.tensor(spec.name, f"golden/{_file(spec.name, n)}", golden[spec.name], spec.datatype)
        for n, spec in enumerate(interface.inputs)
    )
    variants, measures, tables = [], {}, {}
    metric = "agreement with the original"
    for part in parts:
        tables[part.name] = table(part.data, "arm")
        value = lowest(part.agreements)
        measures[part.name] = _measure(part.data, golden, value.value, samples, tables[part.name])
        variants.append(
            _variant(contents, part, golden, interface, Accuracy(
                metric=metric, value=value.value, samples=samples, scored_as="arm",
            ), measures[part.name])
        )  # fmt: skip
    release = Release(
        model=model,
        version=0,
        created=datetime.now(UTC).replace(microsecond=0),
        interface=interface,
        golden_inputs=inputs,
        variants=tuple(variants),
        files=contents.entries(),
        original_accuracy=Accuracy(metric=metric, value=1.0, samples=samples, scored_as="arm"),
        notes=notes[:2000],
    )
    verify(encode(release), contents.files)
    return Packed(release, contents, measures, tables)


def label_of(stem: str) -> str:
    """Return a model name that is allowed, made of a file's name."""
    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9]+", "-", stem.lower())).strip("-")[:40] or "model"


def _interface(
    data: bytes, golden: Mapping[str, Array], answers: Mapping[str, Array], task: str, labels: tuple[str, ...]
) -> Interface:
    session = open_session(data, "arm")

    def shape(declared: list[object], seen: Array) -> tuple[int, ...]:
        if len(declared) != seen.ndim:
            declared = [None] * seen.ndim
        return tuple(size if isinstance(size, int) and size > 0 else -1 for size in declared)

    def kind(name: str, seen: Array) -> str:
        if seen.dtype.name not in DATATYPES:
            raise PackageError(f"{name} is {seen.dtype}, which the protocol of the devices does not have")
        return DATATYPES[seen.dtype.name]

    return Interface(
        task=task,
        inputs=tuple(
            InputSpec(name=i.name, datatype=kind(i.name, golden[i.name]), shape=shape(i.shape, golden[i.name]))  # type: ignore[arg-type]
            for i in session.get_inputs()
        ),
        outputs=tuple(
            OutputSpec(name=o.name, datatype=kind(o.name, answers[o.name]), shape=shape(o.shape, answers[o.name]))  # type: ignore[arg-type]
            for o in session.get_outputs()
        ),
        labels=labels,
    )


def _variant(
    contents: Contents,
    part: Part,
    golden: Mapping[str, Array],
    interface: Interface,
    accuracy: Accuracy,
    measures: Measures,
) -> Variant:
    file = f"{part.name}/model.onnx"
    contents.files[file] = part.data
    answered, tolerance = _golden(part.data, golden)
    outputs = tuple(
        contents.tensor(spec.name, f"{part.name}/{_file(spec.name, n)}", answered[spec.name], spec.datatype)
        for n, spec in enumerate(interface.outputs)
    )
    seen = guard(part.data)
    newer = seen.ir_version > 10 or seen.opset > 21
    requires = Requirement(
        ir=seen.ir_version,
        opset=seen.opset,
        memory_bytes=measures.memory_bytes,
        min_runtime="1.23.0" if newer else "1.19.0",
    )
    return Variant(
        name=part.name,
        files=(file,),
        golden=Golden(outputs=outputs, tolerances=(tolerance,)),
        accuracy=accuracy,
        bytes=len(part.data),
        requires=requires,
        latency=latency_table(measures, requires),
        recipe=" + ".join(part.lineage)[:2000],
    )


def _golden(data: bytes, golden: Mapping[str, Array]) -> tuple[dict[str, Array], Tolerance]:
    """Return the golden answers, and how far a device may be off, as `package.golden` does it for one output."""
    want = run_all(open_session(data, "arm"), golden)
    ways: tuple[tuple[Rules, int], ...] = (("arm", 2), ("default", 1), ("plain", 1))
    spread = 0.0
    for rules, threads in ways:
        try:
            got = run_all(open_session(data, rules, threads), golden)
        except Exception as error:  # the runtime's own exceptions have no common base
            raise PackageError(
                f"under {rules} rules the file does not run: {str(error).splitlines()[0][:200]}"
            ) from error
        spread = max(spread, *(_apart(got[name], want[name]) for name in want))
    largest = max(float(np.abs(rows.astype(np.float64)).max()) if rows.size else 0.0 for rows in want.values())
    max_abs = SPREAD_FACTOR * spread + QUANTIZATION_STEPS * output_step(data) + FLOAT_NOISE * largest
    only = next(iter(want.values()))
    top1 = certain_top1(only, max_abs) if len(want) == 1 and only.dtype.kind == "f" else 0.0
    return want, Tolerance(provider="CPUExecutionProvider", max_abs=max_abs, min_top1=top1)


def _apart(one: Array, two: Array) -> float:
    if one.shape != two.shape:
        raise PackageError(f"under other graph rules an answer has the shape {one.shape} and not {two.shape}")
    return float(np.abs(one.astype(np.float64) - two.astype(np.float64)).max()) if one.size else 0.0


def _measure(data: bytes, golden: Mapping[str, Array], value: float, samples: int, found: Table) -> Measures:
    sample = {name: rows[:1] for name, rows in golden.items()}
    macs = _macs(data, sample)
    return Measures(
        accuracy=value,
        samples=samples,
        bytes=len(data),
        wire_bytes=wire_bytes(data),
        latency_p50_s=latency_of_p50_s(data, [sample]),
        memory_bytes=peak_memory_bytes(data, sample),
        fp32_macs=macs.fp32,
        int8_macs=macs.int8,
        arm_nodes=found.nodes,
        int8_kernels=found.int8,
        kernels=found.all,
    )


def _macs(data: bytes, sample: Mapping[str, Array]) -> Macs:
    model = onnx.load_from_string(data)
    for value in model.graph.input:
        shape = sample[value.name].shape
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape))
    try:
        return count_macs(model.SerializeToString())
    except (CompressError, RuntimeError, LookupError, onnx.shape_inference.InferenceError):
        return Macs(0, 0)  # shapes that only running shows: the time on other boards is then not predicted well


def _file(name: str, number: int) -> str:
    """Return a file name for a tensor of any name."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:40]
    return f"{number}-{plain or 'tensor'}"
