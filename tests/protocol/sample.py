"""A release, a device and a rollout that agree with themselves, to be changed by `msgspec.structs.replace`."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone

from edgefleet_protocol.hardware import Hardware, RuntimeInfo
from edgefleet_protocol.manifest import (
    Accuracy,
    Chunk,
    FileEntry,
    Golden,
    InputSpec,
    Interface,
    LatencyRow,
    OutputSpec,
    Release,
    Requirement,
    TensorFile,
    Tolerance,
    Variant,
)
from edgefleet_protocol.rollout import Assignment, ReleaseRef, Rollout

INPUT, ANSWERS = "golden/input.f32", "golden/answers.f32"
SAMPLES, CLASSES = 4, 10


def digest(text: str) -> str:
    """A SHA-256 that is some name's."""
    return hashlib.sha256(text.encode()).hexdigest()


def entry(name: str, size: int, *, wire: int | None = None) -> FileEntry:
    """A file of one chunk."""
    chunk = Chunk(sha256=digest(name), bytes=size, wire_bytes=size + 1 if wire is None else wire)
    return FileEntry(name=name, bytes=size, sha256=digest(name), chunks=(chunk,))


def variant(
    name: str,
    *,
    accuracy: float = 0.9,
    size: int = 1000,
    requires: Requirement | None = None,
    latency: dict[str, tuple[float, str]] | None = None,
    runtime: str = "onnxruntime",
) -> Variant:
    """A variant with one file. latency: (p50 in seconds, how) by hardware class."""
    return Variant(
        name=name,
        files=(f"{name}.onnx",),
        golden=Golden(
            outputs=(TensorFile(name="logits", datatype="FP32", shape=(SAMPLES, CLASSES), file=ANSWERS),),
            tolerances=tuple(
                Tolerance(provider=provider, max_abs=0.01)
                for provider in ("CPUExecutionProvider", "CUDAExecutionProvider")
            ),
        ),
        accuracy=Accuracy(metric="top-1", value=accuracy, samples=3000, scored_as="arm"),
        bytes=size,
        runtime=runtime,
        requires=requires or Requirement(),
        latency=tuple(
            LatencyRow(hardware_class=name, p50_s=seconds, how=how)  # type: ignore[arg-type]
            for name, (seconds, how) in (latency or {}).items()
        ),
    )


def release(variants: Sequence[Variant] | None = None, *, version: int = 3, model: str = "fashion") -> Release:
    """A release of `variants`, one when none are given."""
    variants = tuple(variants or (variant("fp32"),))
    return Release(
        model=model,
        version=version,
        created=datetime(2026, 11, 25, tzinfo=timezone.utc),
        interface=Interface(
            task="classification",
            inputs=(InputSpec(name="image", datatype="FP32", shape=(-1, 1, 28, 28), layout="NCHW", range=(0.0, 1.0)),),
            outputs=(OutputSpec(name="logits", datatype="FP32", shape=(-1, CLASSES), meaning="logits"),),
            labels=tuple("abcdefghij"),
        ),
        golden_inputs=(TensorFile(name="image", datatype="FP32", shape=(SAMPLES, 1, 28, 28), file=INPUT),),
        variants=variants,
        files=(
            entry(INPUT, SAMPLES * 28 * 28 * 4),
            entry(ANSWERS, SAMPLES * CLASSES * 4),
            *(entry(name, each.bytes) for each in variants for name in each.files),
        ),
    )


def device(
    hardware_class: str = "pi4",
    *,
    arch: str = "aarch64",
    features: tuple[str, ...] = ("asimd",),
    memory_bytes: int = 4_000_000_000,
    storage_bytes: int = 32_000_000_000,
    runtime: RuntimeInfo | None = None,
) -> Hardware:
    """A Raspberry Pi 4, or what is asked for."""
    return Hardware(
        board="raspberrypi,4-model-b",
        hardware_class=hardware_class,
        arch=arch,
        features=features,
        cores=4,
        memory_bytes=memory_bytes,
        storage_bytes=storage_bytes,
        runtimes=(runtime or RuntimeInfo(name="onnxruntime", version="1.23.2", max_ir=11, max_opset=23),),
    )


def assignment(name: str = "fashion/3", **changes: object) -> Assignment:
    """An assignment of a release to everyone."""
    model = name.partition("/")[0]
    ref = ReleaseRef(path=f"releases/{name}.json", sha256=digest(name))
    return Assignment(model=model, release=ref, **changes)  # type: ignore[arg-type]


def rollout(*assignments: Assignment) -> Rollout:
    """A rollout of the region eu-west."""
    return Rollout(
        region="eu-west", serial=1, issued=datetime(2026, 11, 25, tzinfo=timezone.utc), assignments=assignments
    )
