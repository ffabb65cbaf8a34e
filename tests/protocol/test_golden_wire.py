"""Documents that were once sent parse for ever. Files of tests/golden/wire/v1 are never changed; new ones come beside them.

What they must mean is written here by hand and not made by encoding again: whoever changes a field's name or meaning finds
the facts of an old document gone.
"""

import hashlib
import hmac
import importlib
import pkgutil
import zlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import edgefleet_protocol
from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.codec import D, Document, decode
from edgefleet_protocol.dsse import open_envelope
from edgefleet_protocol.manifest import Chunk, Release
from edgefleet_protocol.messages import Command, DeviceState, Event, Need, Presence, Reply
from edgefleet_protocol.release_check import check_release
from edgefleet_protocol.rollout import DeviceAssignment, Rollout
from edgefleet_protocol.telemetry import DeviceWindow, TelemetryBatch
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE, KeyList

V1 = Path(__file__).parents[1] / "golden" / "wire" / "v1"

FILES: dict[type[Document], str] = {
    Release: "release",
    Rollout: "rollout",
    DeviceAssignment: "device-assignment",
    KeyList: "key-list",
    DeviceState: "device-state",
    Presence: "presence",
    Event: "event",
    Need: "need",
    Command: "command",
    Reply: "reply",
    TelemetryBatch: "telemetry-batch",
}


def read(kind: type[D], more: str = "") -> D:
    return decode((V1 / f"{FILES[kind]}{more}.json").read_bytes(), kind, agent_version="0.1.0")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_every_kind_of_document_has_a_golden_file():
    for module in pkgutil.iter_modules(edgefleet_protocol.__path__):
        importlib.import_module(f"edgefleet_protocol.{module.name}")
    kinds, waiting = set(), [Document]
    while waiting:
        below = [kind for kind in waiting.pop().__subclasses__() if kind.__module__.startswith("edgefleet_protocol.")]
        kinds.update(below)
        waiting += below
    assert kinds == set(FILES)
    assert all((V1 / f"{name}.json").is_file() for name in FILES.values())


def test_a_release():
    release = read(Release)
    check_release(release)
    assert release.name == "fashion/3"
    assert release.kind == "model"
    assert release.created == datetime(2026, 11, 25, 9, 30, tzinfo=timezone.utc)
    assert release.minimum_agent == "0.1.0"
    interface = release.interface
    assert interface.task == "classification"
    (image,), (logits,) = interface.inputs, interface.outputs
    assert (image.name, image.datatype, image.shape) == ("image", "FP32", (-1, 1, 28, 28))
    assert (image.layout, image.colour, image.range, image.resize) == ("NCHW", "grey", (0.0, 1.0), "stretch")
    assert (logits.name, logits.shape, logits.meaning) == ("logits", (-1, 10), "logits")
    assert interface.labels[0] == "T-shirt/top"
    assert len(interface.labels) == 10
    assert interface.thresholds == {"confident": 0.6}
    (inputs,) = release.golden_inputs
    assert (inputs.name, inputs.shape, inputs.file) == ("image", (16, 1, 28, 28), "golden/inputs.f32")
    assert release.original_accuracy is not None
    assert release.original_accuracy.value == 0.9201
    assert release.encryption is None

    fp32, int8 = release.variants
    assert (fp32.name, fp32.files, fp32.bytes, fp32.recipe) == ("fp32", ("fp32.onnx",), 123_000, "as trained")
    assert (fp32.runtime, fp32.requires.arch, fp32.requires.provider) == ("onnxruntime", (), "CPUExecutionProvider")
    assert (fp32.requires.memory_bytes, fp32.requires.load_s) == (120_000_000, 30.0)
    (row,) = fp32.latency
    assert (row.hardware_class, row.p50_s, row.how, row.source) == ("pi4", 0.0461, "measured", "fleet, 12 devices")
    assert int8.runtime == "onnxruntime"
    assert int8.files == ("half-int8.onnx", "half-int8.weights")
    assert (int8.requires.arch, int8.requires.features) == (("aarch64",), ("asimd",))
    assert (int8.requires.min_runtime, int8.requires.ir, int8.requires.opset) == ("1.19.0", 8, 17)
    assert (int8.requires.memory_bytes, int8.requires.load_s) == (60_000_000, 60.0)
    accuracy = int8.accuracy
    assert (accuracy.metric, accuracy.value, accuracy.samples, accuracy.scored_as) == ("top-1", 0.9092, 3000, "arm")
    cpu, cuda = int8.golden.tolerances
    assert (cpu.provider, cpu.max_abs, cpu.min_top1) == ("CPUExecutionProvider", 0.05, 0.9375)
    assert (cuda.provider, cuda.max_abs, cuda.min_top1) == ("CUDAExecutionProvider", 0.2, 1.0)
    assert int8.golden.outputs[0].file == "golden/half-int8.f32"

    model = release.file("fp32.onnx")
    assert (model.bytes, model.sha256, model.wire_bytes) == (123_000, digest("file fp32.onnx"), 114_190)
    assert [(chunk.bytes, chunk.wire_bytes) for chunk in model.chunks] == [(61439, 57000), (61439, 57100), (122, 90)]
    assert model.chunks[2].sha256 == digest("fp32.onnx 2")
    assert release.wire_bytes(int8) == 8000 + 599 + 80 + 31_000


def test_a_rollout():
    rollout = read(Rollout)
    assert (rollout.region, rollout.serial) == ("eu-west", 17)
    assert rollout.issued == datetime(2026, 11, 25, 10, tzinfo=timezone(timedelta(hours=1)))
    policy = rollout.policy
    assert (policy.objective, policy.latency_budget_s, policy.min_accuracy) == ("latency", 0.1, 0.9)
    assert (policy.memory_budget_bytes, policy.download_budget_bytes) == (100_000_000, 5_000_000)
    assert (policy.bandwidth_bytes_per_s, policy.telemetry_interval_s) == (16_000, 30.0)
    assert (policy.battery_floor_percent, policy.max_temperature_c) == (25.0, 78.0)
    new, old = rollout.assignments
    assert (new.model, new.release.path, new.release.sha256) == (
        "fashion", "releases/fashion/4.json", digest("fashion/4"),
    )  # fmt: skip
    assert (new.audience.tags, new.audience.hardware) == (("camera",), ("pi4", "pi5"))
    assert (new.percent, new.stage, new.deadline_s) == (10.0, 0, 7200.0)
    assert not new.accept_interface_change  # signed before there was such a field
    first, second = new.stages
    assert (first.gate.max_failed_percent, first.gate.min_proven_percent) == (0.0, 90.0)
    assert (second.percent, second.gate.max_failed_percent, second.gate.min_proven_percent) == (100.0, 0.0, 100.0)
    assert (new.probation.seconds, new.probation.min_requests, new.probation.max_error_percent) == (120.0, 50, 0.5)
    assert (old.audience.tags, old.audience.hardware, old.percent, old.deadline_s) == ((), (), 100.0, 86_400.0)
    assert (old.probation.seconds, old.probation.min_requests, old.probation.max_error_percent) == (600.0, 20, 1.0)


def test_a_device_assignment():
    given = read(DeviceAssignment)
    assert (given.device, given.number, given.region, given.tags) == ("pi-7", 4, "ap-south", ("camera", "lab"))
    assert given.issued == datetime(2026, 11, 25, 8, tzinfo=timezone.utc)


def test_a_key_list():
    (key,) = read(KeyList).keys
    assert (key.keyid, key.keytype, key.scheme, key.public) == (
        digest("key"), "ed25519", "ed25519", digest("public half"),
    )  # fmt: skip


def test_a_device_state():
    state = read(DeviceState)
    assert (state.device, state.session, state.boot) == ("pi-7", 12, "0d6f4f0e-6c1f-4b57-9a5e-3d0d3a2f5c11")
    assert (state.at_s, state.agent_version) == (1795600123.5, "0.1.0")
    assert (state.region, state.tags, state.assignment_number) == ("eu-west", ("camera",), 4)
    assert (state.rollout_serial, state.bytes_received, state.trust_problem) == (17, 1_839_223, None)
    assert state.trust == {
        "root": 1, "timestamp": 40, "snapshot": 38, "targets": 2, "releases": 5, "rollouts-eu-west": 17,
    }  # fmt: skip
    assert state.limits_held == {"memory": "rlimit", "network": "none: namespaces are not permitted"}
    hardware = state.hardware
    assert hardware is not None
    assert (hardware.board, hardware.hardware_class, hardware.arch) == ("raspberrypi,4-model-b", "pi4", "aarch64")
    assert (hardware.cores, hardware.memory_bytes, hardware.storage_bytes) == (4, 3_981_455_360, 31_268_536_320)
    assert "asimd" in hardware.features
    assert (hardware.accelerator, hardware.power_mode) == (None, None)
    assert (hardware.os, hardware.python) == ("Debian GNU/Linux 12", "3.11.2")
    (runtime,) = hardware.runtimes
    assert (runtime.name, runtime.version, runtime.providers) == ("onnxruntime", "1.23.2", ("CPUExecutionProvider",))
    assert (runtime.max_ir, runtime.max_opset) == (11, 23)
    (model,) = state.models
    assert (model.model, model.phase, model.why) == (
        "fashion", "probation", "42 of 50 requests and 80 of 120 seconds",
    )  # fmt: skip
    assert (model.wanted, model.wanted_sha256) == ("fashion/4", digest("fashion/4"))
    assert (model.chosen, model.chosen_why) == ("half-int8", "the fastest of the 2 that fit")
    assert model.running is not None
    assert model.previous is not None
    assert (model.running.release, model.running.release_sha256) == ("fashion/4", digest("fashion/4"))
    assert (model.running.variant, model.running.variant_sha256) == ("half-int8", digest("file 4"))
    assert (model.running.since_s, model.running.proven) == (1795600000.25, False)
    assert (model.previous.release, model.previous.proven) == ("fashion/3", True)
    (measured,) = model.measured
    assert (measured.release, measured.variant, measured.memory_bytes) == ("fashion/4", "half-int8", 48_234_496)
    assert (measured.latency_p50_s, measured.latency_p95_s) == (0.0098, 0.0121)
    (failure,) = model.failures
    assert (failure.release, failure.variant, failure.stage) == ("fashion/2", "fp32", "trial")
    assert (failure.release_sha256, failure.at_s) == (digest("fashion/2"), 1795500000.0)
    assert failure.reason == "top-1 differs from the golden answers in 3 of 16 samples"


def test_a_presence():
    presence = read(Presence)
    assert (presence.device, presence.session, presence.online) == ("pi-7", 12, False)


def test_an_event():
    event = read(Event)
    assert (event.device, event.number, event.at_s, event.kind) == ("pi-7", 31, 1795600100.0, "fell-back")
    assert event.text == "fashion/4 took 31.00 ms at p95 and the region allows 20.00 ms: back to fashion/3"
    assert (event.model, event.release, event.variant) == ("fashion", "fashion/4", "half-int8")
    assert event.facts == {"p95_s": "0.031", "budget_s": "0.02"}


def test_a_need():
    need = read(Need)
    assert (need.device, need.chunks, need.targets) == ("pi-7", (digest("one"), digest("two")), (digest("three"),))
    assert need.metadata == ("2.root.json", "timestamp.json")


def test_a_command_and_its_reply():
    command, reply = read(Command), read(Reply)
    assert (command.device, command.number, command.action) == ("pi-7", 9, "diagnose")
    assert command.expires_s == 1795600300.0
    assert (reply.device, reply.number, reply.ok) == ("pi-7", 9, True)
    assert reply.text == "fashion/3 half-int8 since 2 h, 0 errors"


def test_who_froze_a_device_or_a_region_and_what_may_leave_it():
    given = read(DeviceAssignment, "-frozen")
    assert (given.device, given.number, given.region, given.frozen) == ("pi-7", 5, "ap-south", "ana: inspection")
    rollout = read(Rollout, "-frozen")
    assert (rollout.serial, rollout.frozen) == (18, "ana: election night")
    assert rollout.policy.telemetry_fields == ("heat", "latency")
    # Signed before there were such fields.
    assert (read(DeviceAssignment).frozen, read(Rollout).frozen, read(Rollout).policy.telemetry_fields) == ("", "", ())


def test_a_long_answer_in_pieces_and_one_that_comes_later():
    piece, begun = read(Reply, "-piece"), read(Reply, "-more")
    assert (piece.number, piece.ok, piece.piece, piece.pieces, piece.more) == (10, True, 0, 2, False)
    assert zlib.decompressobj().decompress(piece.data) == b"line 1"
    assert (begun.number, begun.more, begun.data, begun.pieces) == (11, True, b"", 1)
    assert (read(Reply).more, read(Reply).data, read(Reply).piece, read(Reply).pieces) == (False, b"", 0, 1)


def test_telemetry():
    batch = read(TelemetryBatch)
    assert (batch.device, batch.dropped_windows) == ("pi-7", 2)
    first, second = batch.windows
    assert (first.start_s, first.seconds, first.started_monotonic_s) == (1795600000.0, 60.0, 5021.75)
    assert first.clock_trusted
    assert not second.clock_trusted
    device = first.device
    assert (device.cpu_percent, device.temperature_c, device.throttled) == (37.5, 61.25, ("under-voltage",))
    assert (device.memory_available_bytes, device.storage_free_bytes) == (2_900_000_000, 20_000_000_000)
    assert (device.battery_percent, device.battery_charging, device.power_w) == (80.0, False, None)
    assert device.agent_memory_bytes == 38_000_000
    (model,) = first.models
    assert (model.model, model.release, model.variant) == ("fashion", "fashion/3", "half-int8")
    assert (model.requests, model.errors, model.memory_bytes) == (600, 1, 48_234_496)
    assert model.latency.count == 599
    median = model.latency.quantile(0.5)
    assert median is not None
    assert 2 ** (-106 / 16) < median < 2 ** (-105 / 16)
    assert model.confidence is not None
    assert (model.confidence.offset, model.confidence.counts) == (-16, (1, 0, 2, 30, 566))
    assert second.device == DeviceWindow()
    assert second.models == ()


def test_telemetry_as_it_travels():
    plain = zlib.decompress((V1 / "telemetry-batch.z").read_bytes())
    assert decode(plain, TelemetryBatch) == read(TelemetryBatch)


def test_an_envelope():
    keys = {
        digest("key"): lambda signature, message: hmac.compare_digest(
            signature, hmac.digest(b"golden", message, "sha256")
        )
    }
    payload = open_envelope((V1 / "envelope.dsse.json").read_bytes(), DEVICE_ASSIGNMENT_TYPE, keys)
    assert payload == (V1 / "device-assignment.json").read_bytes()


def test_a_raw_chunk():
    chunk = Chunk(sha256="b9b10a1bc77d2a241d120324db7f3b81b2edb67eb8e9cf02af9c95d30329aef5", bytes=64, wire_bytes=65)
    payload = (V1 / "chunk-raw.bin").read_bytes()
    assert unpack(payload, chunk) == hashlib.sha256(b"0").digest() + hashlib.sha256(b"1").digest()


def test_a_zstd_chunk():
    chunk = Chunk(sha256="67f1379a152ab1d78bfae2942efc7e735147db1313edbce2938a60b2486941bd", bytes=5200, wire_bytes=45)
    assert unpack((V1 / "chunk-zstd.bin").read_bytes(), chunk) == b"EdgeFleet, chunk in zstd. " * 200
