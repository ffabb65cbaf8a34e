"""A release as the pure functions need it: two variants, chunks of known size."""

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


def digest(number: int) -> str:
    return f"{number:064x}"


def release(version: int = 2) -> Release:
    """`large` is accurate and needs 1 GB; `small` is faster and fits everywhere."""
    files = {"large/model.onnx": 3, "small/model.onnx": 1, "golden/in.f32": 1, "golden/out.f32": 1}
    entries, number = [], 1000 * version
    for name, count in files.items():
        chunks = tuple(Chunk(sha256=digest(number + n), bytes=100, wire_bytes=80) for n in range(count))
        number += count
        entries.append(FileEntry(name=name, bytes=100 * count, sha256=digest(number + 500), chunks=chunks))

    def variant(name: str, accuracy: float, memory: int, milliseconds: float) -> Variant:
        return Variant(
            name=name,
            files=(f"{name}/model.onnx",),
            golden=Golden(
                outputs=(TensorFile(name="y", datatype="FP32", shape=(1, 25), file="golden/out.f32"),),
                tolerances=(Tolerance(provider="CPUExecutionProvider", max_abs=1e-4),),
            ),
            accuracy=Accuracy(metric="top-1", value=accuracy, samples=3000),
            bytes=sum(entry.bytes for entry in entries if entry.name == f"{name}/model.onnx"),
            requires=Requirement(memory_bytes=memory),
            latency=(
                LatencyRow(hardware_class="pi4", p50_s=milliseconds / 1e3, how="measured"),
                LatencyRow(hardware_class="pi-zero-2-w", p50_s=milliseconds / 200, how="predicted"),
            ),
        )

    return Release(
        model="fashion",
        version=version,
        interface=Interface(
            task="classification",
            inputs=(InputSpec(name="x", datatype="FP32", shape=(-1, 25)),),
            outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 25)),),
        ),
        golden_inputs=(TensorFile(name="x", datatype="FP32", shape=(1, 25), file="golden/in.f32"),),
        variants=(variant("large", 0.93, 1_000_000_000, 12.0), variant("small", 0.925, 100_000_000, 3.0)),
        files=tuple(entries),
    )
