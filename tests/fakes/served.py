"""A small classifier as a folder that a worker can be started on, and helpers to wait for what processes do."""

import hashlib
import random
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgefleet_agent.seams import Launcher, Trial, TrialReport, Worker, WorkerSpec
from edgefleet_protocol.manifest import Golden, InputSpec, Interface, OutputSpec, TensorFile, Tolerance
from tests.fakes.onnx_bytes import classifier

FEATURES, CLASSES, SAMPLES = 12, 4, 6
CPU = "CPUExecutionProvider"
ROGUE = Path(__file__).with_name("rogue_worker.py")


def ask_golden(launcher: Launcher, spec: WorkerSpec, deadline_s: float) -> str | None:
    """Ask the golden inputs to the end; return why the answers are wrong, or None."""
    asking = launcher.begin_golden(spec, deadline_s)
    while (asked := asking.poll()) is None:
        time.sleep(0.001)
    return asked.why_not


def interface() -> Interface:
    """Return the contract that every model here keeps."""
    return Interface(
        task="classification",
        inputs=(InputSpec(name="image", datatype="FP32", shape=(-1, FEATURES)),),
        outputs=(OutputSpec(name="scores", datatype="FP32", shape=(-1, CLASSES), meaning="logits"),),
        labels=("ant", "bee", "cat", "dog"),
    )


def write_model(
    folder: Path, *, release: str = "fashion/1", variant: str = "small", seed: int = 1, model: bytes | None = None
) -> WorkerSpec:
    """Write a model with its golden inputs and answers below `folder`; return what a worker is started with."""
    dice = random.Random(seed)
    weights = [[dice.uniform(-1, 1) for _ in range(CLASSES)] for _ in range(FEATURES)]
    bias = [dice.uniform(-1, 1) for _ in range(CLASSES)]
    images = [[dice.uniform(0, 1) for _ in range(FEATURES)] for _ in range(SAMPLES)]
    scores = [answer(weights, bias, image) for image in images]
    data = classifier(weights, bias) if model is None else model
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    (folder / variant).mkdir(exist_ok=True)
    path = folder / variant / "model.onnx"
    path.write_bytes(data)
    (folder / "golden/image.bin").write_bytes(raw(images))
    (folder / f"golden/{variant}.bin").write_bytes(raw(scores))
    return WorkerSpec(
        model=release.partition("/")[0],
        release=release,
        release_sha256="1" * 64,
        variant=variant,
        variant_sha256=hashlib.sha256(data).hexdigest(),
        runtime="onnxruntime",
        provider=CPU,
        model_path=path,
        interface=interface(),
        memory_limit_bytes=200_000_000,
        cpu_limit_s=60,
        golden_folder=folder,
        golden_inputs=(TensorFile(name="image", datatype="FP32", shape=(SAMPLES, FEATURES), file="golden/image.bin"),),
        golden=Golden(
            outputs=(
                TensorFile(name="scores", datatype="FP32", shape=(SAMPLES, CLASSES), file=f"golden/{variant}.bin"),
            ),
            tolerances=(Tolerance(provider=CPU, max_abs=1e-4),),
        ),
    )


def rogue(spec: WorkerSpec, behaviour: str) -> WorkerSpec:
    """Return `spec` for a runtime of tests/fakes/rogue_worker.py that misbehaves: `hang`, `illegal`, `leak`, …"""
    return replace(spec, runtime=behaviour)


def answer(weights: list[list[float]], bias: list[float], image: list[float]) -> list[float]:
    """Return what the classifier says, computed here."""
    return [sum(x * row[k] for x, row in zip(image, weights, strict=True)) + bias[k] for k in range(len(bias))]


def raw(rows: list[list[float]]) -> bytes:
    """Return float32, little-endian, row-major."""
    flat = [value for row in rows for value in row]
    return struct.pack(f"<{len(flat)}f", *flat)


def until(true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until `true` is; fail with `what` after `seconds`, which is only there to end a broken test."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.005)


def ready(worker: Worker) -> None:
    """Wait until `worker` has loaded its model."""
    until(lambda: worker.poll() != "starting", "the worker is ready")
    assert worker.poll() == "ready", worker.why_dead()


def report(trial: Trial) -> TrialReport:
    """Wait for the report of `trial`."""
    until(lambda: trial.poll() is not None, "the trial reports")
    found = trial.poll()
    assert found is not None
    return found
