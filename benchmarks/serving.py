"""What serving adds to a model of about a millisecond: each door's median time over onnxruntime in the same process.

A real worker, started by the real launcher, serves one model with a float input of 1x3x224x224 (602 kB) and one that
takes the same picture as bytes (150 kB; names end in `_uint8`). One client asks one after the other, through:
`memfd_ratio`: the Python client, a frame in shared memory; `rest_uds_ratio`: the Python client, Open Inference Protocol
over the Unix socket; `rest_tcp_ratio`: the same over loopback; `tritonclient_ratio`: NVIDIA's client over loopback.
`in_process_ms` is what they are compared with: `session.run` on the same frames, with one thread as in the worker.

Doors and baseline take turns, some requests each, in every round; a ratio is of that round's medians, and what is
printed is the median over the rounds, so that other work on the machine falls on both sides.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tritonclient.http as triton
from onnx import TensorProto, helper

from edgefleet_agent.seams import WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_client import Model
from edgefleet_protocol.manifest import Golden, InputSpec, Interface, OutputSpec, TensorFile, Tolerance

from ._report import report

SHAPE = (1, 3, 224, 224)
CLASSES = 1000
FRAMES = 4
"""Different pictures, as a camera's are: one alone would stay in the processor's cache."""

Ask = Callable[[Any], object]


@dataclass(frozen=True)
class Served:
    """A model that a worker serves, and the same file open here."""

    name: str
    session: onnxruntime.InferenceSession
    frames: list[Any]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="turns of each door (40)")
    parser.add_argument("--requests", type=int, default=25, help="requests in a turn (25)")
    parser.add_argument("--width", type=int, default=52, help="channels of the model: how long it computes (52)")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        launcher = ProcessLauncher(Path(folder) / "run")
        try:
            for kind, suffix in (("FP32", ""), ("UINT8", "_uint8")):
                served = serve(launcher, Path(folder), kind, arguments.width)
                figures |= measure(launcher, served, suffix, arguments.rounds, arguments.requests)
        finally:
            launcher.close()
    report("serving", figures)


def measure(launcher: ProcessLauncher, served: Served, suffix: str, rounds: int, requests: int) -> dict[str, float]:
    """Return the figures of one model."""
    doors = dict(open_doors(launcher, served))
    frames = cycle(served.frames)
    for ask in doors.values():
        for _ in range(10):
            ask(next(frames))
    medians: dict[str, list[float]] = {name: [] for name in doors}
    for number in range(rounds):
        names = list(doors)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            medians[name].append(statistics.median(times(doors[name], frames, requests)))
    base = medians["in_process"]
    figures = {f"in_process_ms{suffix}": statistics.median(base) * 1e3}
    for name, values in medians.items():
        if name != "in_process":
            ratios = [value / before for value, before in zip(values, base, strict=True)]
            figures[f"{name}_ratio{suffix}"] = statistics.median(ratios)
    return figures


def times(ask: Ask, frames: Iterator[Any], requests: int) -> list[float]:
    """Return the seconds of each of `requests` requests."""
    seconds = []
    for _ in range(requests):
        frame = next(frames)
        began = time.perf_counter()
        ask(frame)
        seconds.append(time.perf_counter() - began)
    return seconds


def open_doors(launcher: ProcessLauncher, served: Served) -> Iterator[tuple[str, Ask]]:
    """Yield each way to ask, by name."""
    yield "in_process", lambda frame: served.session.run(["scores"], {"image": frame})
    path, url = launcher.socket_path(served.name), f"http://127.0.0.1:{launcher.port(served.name)}"
    yield "memfd", Model(served.name, socket=path, door="memfd").predict
    yield "rest_uds", Model(served.name, socket=path, door="rest").predict
    yield "rest_tcp", Model(served.name, url=url).predict
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    kind = "UINT8" if served.frames[0].dtype == np.uint8 else "FP32"

    def ask(frame: Any) -> None:
        image = triton.InferInput("image", list(SHAPE), kind)
        image.set_data_from_numpy(frame)
        client.infer(served.name, [image]).as_numpy("scores")

    yield "tritonclient", ask


def serve(launcher: ProcessLauncher, folder: Path, kind: str, width: int) -> Served:
    """Write a model, start its worker, wait until it serves, and open the same file here."""
    name = f"picture-{kind.lower()}"
    data = network(kind, width)
    dice = np.random.default_rng(1)
    frames: list[Any] = [
        dice.random(SHAPE, dtype=np.float32) if kind == "FP32" else dice.integers(0, 256, SHAPE, dtype=np.uint8)
        for _ in range(FRAMES)
    ]
    spec = write(folder / name, name, kind, data, frames[0])
    worker = launcher.start(spec)
    while (state := worker.poll()) == "starting":
        time.sleep(0.02)
    if state == "dead":
        raise SystemExit(f"the worker died: {worker.why_dead()}")
    worker.accept()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = spec.threads
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return Served(name, session, frames)


def write(folder: Path, name: str, kind: str, data: bytes, golden: Any) -> WorkerSpec:
    """Write the files of a release with one golden sample; return what a worker is started with."""
    folder.mkdir()
    (folder / "model").mkdir()
    (folder / "model/model.onnx").write_bytes(data)
    (folder / "image.bin").write_bytes(golden.tobytes())
    (folder / "scores.bin").write_bytes(bytes(4 * CLASSES))
    datatype: Any = kind
    return WorkerSpec(
        model=name,
        release=f"{name}/1",
        release_sha256="1" * 64,
        variant="original",
        variant_sha256=hashlib.sha256(data).hexdigest(),
        runtime="onnxruntime",
        provider="CPUExecutionProvider",
        model_path=folder / "model/model.onnx",
        interface=Interface(
            task="classification",
            inputs=(InputSpec(name="image", datatype=datatype, shape=SHAPE),),
            outputs=(OutputSpec(name="scores", datatype="FP32", shape=(1, CLASSES), meaning="logits"),),
        ),
        memory_limit_bytes=300_000_000,
        cpu_limit_s=None,
        golden_folder=folder,
        golden_inputs=(TensorFile(name="image", datatype=datatype, shape=SHAPE, file="image.bin"),),
        golden=Golden(
            outputs=(TensorFile(name="scores", datatype="FP32", shape=(1, CLASSES), file="scores.bin"),),
            tolerances=(Tolerance(provider="CPUExecutionProvider", max_abs=1e-3),),
        ),
    )


def network(kind: str, width: int) -> bytes:
    """Return a small convolutional classifier: 8x8 patches to `width` channels, two layers, 1000 classes."""
    dice = np.random.default_rng(7)

    def weights(tensor: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array((dice.standard_normal(shape) * 0.1).astype(np.float32), tensor)

    first = "image"
    nodes = []
    if kind == "UINT8":
        first = "scaled"
        nodes += [helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
                  helper.make_node("Mul", ["floats", "scale"], ["scaled"])]  # fmt: skip
    nodes += [
        helper.make_node("Conv", [first, "w1"], ["c1"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["scores"]),
    ]
    initializers = [
        weights("w1", width, 3, 8, 8),
        weights("w2", 2 * width, width, 3, 3),
        weights("w3", 2 * width, CLASSES),
    ]
    if kind == "UINT8":
        initializers.append(onnx.numpy_helper.from_array(np.array([1 / 255], np.float32), "scale"))
    datatype = TensorProto.UINT8 if kind == "UINT8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "picture",
        [helper.make_tensor_value_info("image", datatype, SHAPE)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, CLASSES))],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


if __name__ == "__main__":
    main()
