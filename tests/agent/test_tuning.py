"""Which way of setting up a session wins, under which objective; and the pure rules of providers and boxes."""

import pytest

from edgefleet_agent.hardware.tensorrt import newest
from edgefleet_agent.serve import boxes, golden, providers
from edgefleet_agent.tuning import Tried, Tune, Tuning, best, candidates
from edgefleet_protocol.manifest import BOX_ROWS, Golden, InputSpec, Interface, OutputSpec, TensorFile, Tolerance
from tests.fakes.device import package
from tests.fakes.probe import PI4

MB = 1_000_000
PLAIN = Tried(Tuning(), 0.100, 0.100, 50 * MB)


@pytest.mark.parametrize(
    ("objective", "other", "wins"),
    [
        ("accuracy", Tried(Tuning(4), 0.040, 0.120, 52 * MB), True),
        ("accuracy", Tried(Tuning(4), 0.090, 0.300, 52 * MB), False),
        ("latency", Tried(Tuning(4, spinning=True), 0.080, 0.400, 52 * MB), False),
        ("latency", Tried(Tuning(4, spinning=True), 0.030, 0.400, 52 * MB), True),
        ("energy", Tried(Tuning(4), 0.040, 0.160, 52 * MB), False),
        ("accuracy", Tried(Tuning(arena=False), 0.102, 0.102, 30 * MB), True),
        ("accuracy", Tried(Tuning(arena=False), 0.150, 0.150, 30 * MB), False),
        ("memory", Tried(Tuning(arena=False), 0.140, 0.140, 30 * MB), True),
        ("memory", Tried(Tuning(arena=False), 0.300, 0.300, 30 * MB), False),
        ("memory", Tried(Tuning(4), 0.020, 0.100, 30 * MB), False),
    ],
)
def test_another_way_wins_only_clearly_and_under_the_objective(objective: str, other: Tried, wins: bool) -> None:
    chosen, why = best(PLAIN, [other], objective)
    assert (chosen is other) == wins
    assert str(chosen.tuning) in why


def test_few_ways_are_tried_and_spinning_only_where_there_are_threads() -> None:
    assert candidates(Tuning(), Tune(1)) == (Tuning(arena=False),)
    four = candidates(Tuning(), Tune(4))
    assert four == (Tuning(4), Tuning(2), Tuning(4, spinning=True), Tuning(arena=False))
    assert candidates(Tuning(), Tune(4, "memory"))[0] == Tuning(arena=False)


# --- providers


def test_a_provider_needs_the_runtime_and_the_releases_word() -> None:
    variant = package(1, providers=(providers.CPU, providers.CUDA)).release.variants[0]
    everything = (providers.TENSORRT, providers.CUDA, providers.CPU)
    found = providers.plan(variant, everything, {})
    assert found is not None and found.provider == providers.CUDA
    back = providers.plan(variant, everything, {providers.CUDA: "no memory"})
    assert back is not None and back.provider == providers.CPU
    assert back.why == "back to CPUExecutionProvider: CUDAExecutionProvider failed here: no memory"
    assert providers.plan(variant, everything, {providers.CUDA: "no memory", providers.CPU: "wrong"}) is None
    alone = providers.plan(package(1).release.variants[0], everything, {})
    assert alone is not None and "names no tolerance for TensorrtExecutionProvider, CUDA" in alone.why


def test_an_engine_of_another_system_tensorrt_gpu_or_model_has_another_name() -> None:
    def key(tensorrt: str = "10.3.0", sha256: str = "a", **changed: object) -> str:
        hardware = type(PI4)(**{**{name: getattr(PI4, name) for name in PI4.__struct_fields__}, **changed})
        return providers.engine_key(hardware, tensorrt, sha256, "x:1x3")

    names = [key(), key("10.7.0"), key(sha256="b"), key(os="L4T 36.4.3"), key(accelerator="sm_72")]
    assert len(set(names)) == len(names) and key() == key()


def test_an_engine_gets_one_fixed_shape_and_the_session_takes_no_other() -> None:
    files = (TensorFile(name="image", datatype="FP32", shape=(8, 3, 32, 32), file="golden/image.bin"),)
    profile = providers.shape_profile(files)
    assert profile == "image:1x3x32x32"
    assert providers.fixed((-1, 3, -1, -1), profile, "image") == (1, 3, 32, 32)
    assert providers.fixed((-1, 4), profile, "other") == (-1, 4)
    first, *rest = providers.options(providers.TENSORRT, "/state/engines/k", profile, quantized=True)
    assert first[1] == {
        "trt_profile_min_shapes": profile,
        "trt_profile_opt_shapes": profile,
        "trt_profile_max_shapes": profile,
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": "/state/engines/k",
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": "/state/engines/k",
        "trt_int8_enable": "True",
    }
    assert [name for name, _ in rest] == [providers.CUDA, providers.CPU]
    assert providers.options(providers.CPU, None, "", quantized=False) == ((providers.CPU, {}),)


def test_the_wall_limit_is_the_providers() -> None:
    assert providers.wall_limit_s(providers.CPU, 60.0) == 150.0
    assert providers.wall_limit_s(providers.TENSORRT, 60.0) == 3750.0


def test_the_version_of_tensorrt_is_read_off_its_library() -> None:
    assert newest(["libnvinfer.so.8", "libnvinfer.so.8.6.2", "libnvinfer.so.10.3.0", "libnvinfer.so.10"]) == "10.3.0"
    assert newest([]) == ""


# --- boxes


DETECTION = Interface(
    task="detection",
    inputs=(InputSpec(name="image", datatype="FP32", shape=(-1, 3)),),
    outputs=(
        OutputSpec(name="boxes", datatype="FP32", shape=(-1, 3, 4), meaning="boxes-xyxy"),
        OutputSpec(name="scores", datatype="FP32", shape=(-1, 3), meaning="scores"),
        OutputSpec(name="labels", datatype="INT64", shape=(-1, 3), meaning="labels"),
    ),
    thresholds={"score": 0.5},
)
CAT = boxes.Box((0, 0, 10, 10), 0.9, 1)
DOG = boxes.Box((20, 20, 40, 40), 0.8, 2)
FAINT = boxes.Box((0, 50, 9, 60), 0.52, 1)


@pytest.mark.parametrize(
    ("ours", "pair"),
    [
        ([CAT, DOG], (4, 4)),
        ([DOG, CAT], (4, 4)),
        ([boxes.Box((1, 0, 11, 10), 0.88, 1), DOG], (4, 4)),
        ([boxes.Box((0, 0, 10, 10), 0.9, 2), DOG], (2, 4)),
        ([boxes.Box((0, 0, 10, 10), 0.6, 1), DOG], (2, 4)),
        ([boxes.Box((8, 8, 18, 18), 0.9, 1), DOG], (2, 4)),
        ([CAT], (2, 3)),
        ([CAT, DOG, FAINT], (4, 4)),
        ([CAT, DOG, CAT], (4, 5)),
        ([boxes.Box((0, 0, 10, 10), float("nan"), 1), DOG], (2, 4)),
    ],
)
def test_boxes_agree_by_label_score_and_overlap_in_any_order(ours: list[boxes.Box], pair: tuple[int, int]) -> None:
    assert boxes.agreement(ours, [CAT, DOG], threshold=0.5, score_apart=0.05) == pair


def test_golden_answers_of_detection_are_compared_box_by_box(tmp_path: object) -> None:
    from pathlib import Path
    from struct import pack

    folder = Path(str(tmp_path))
    files = {
        "boxes": pack("<12f", 0, 0, 10, 10, 20, 20, 40, 40, 0, 0, 0, 0),
        "scores": pack("<3f", 0.9, 0.8, 0.0),
        "labels": pack("<3q", 1, 2, 0),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    rows = Golden(
        outputs=(
            TensorFile(name="boxes", datatype="FP32", shape=(1, 3, 4), file="boxes"),
            TensorFile(name="scores", datatype="FP32", shape=(1, 3), file="scores"),
            TensorFile(name="labels", datatype="INT64", shape=(1, 3), file="labels"),
        ),
        tolerances=(Tolerance(provider=providers.CPU, max_abs=0.05, min_top1=0.9),),
    )
    swapped = {
        "boxes": pack("<12f", 20, 20, 40, 41, 0, 0, 10, 10, 0, 0, 0, 0),
        "scores": pack("<3f", 0.82, 0.9, 0.0),
        "labels": pack("<3q", 2, 1, 0),
    }
    assert golden.compare([swapped], folder, rows, DETECTION, providers.CPU) is None
    wrong = {**swapped, "labels": pack("<3q", 1, 1, 0)}
    why = golden.compare([wrong], folder, rows, DETECTION, providers.CPU)
    assert (
        why == "2 of 4 boxes, found and golden, have a partner of the same label and 90% must on CPUExecutionProvider"
    )


def test_boxes_in_rows_are_compared_by_score_and_place_whatever_else_shares_the_tensor() -> None:
    rows = OutputSpec(name="found", datatype="FP32", shape=(-1, 2, 7), meaning=BOX_ROWS)
    interface = Interface(task="detection", inputs=DETECTION.inputs, outputs=(rows,), labels=("ant", "bee"))
    found = boxes.roles(interface)
    assert found is not None and found.columns == 7
    flat = (0, 0, 10, 10, 0.9, 0.1, 0.9, 5, 5, 5, 9, 1.0, 1.0, 0.0)
    (one,) = boxes.read({"found": flat}, found)
    assert one.corners == (0, 0, 10, 10) and one.score == pytest.approx(0.81) and one.label == 1
    moved = (0.4, 0, 10.4, 10, 0.9, 0.1, 0.9, 5, 5, 5, 9, 1.0, 1.0, 0.0)
    other = (0, 0, 10, 10, 0.9, 0.9, 0.1, 5, 5, 5, 9, 1.0, 1.0, 0.0)
    pairs = [
        boxes.agreement(boxes.read({"found": said}, found), [one], threshold=0.3, score_apart=0.02)
        for said in (moved, other)
    ]
    assert pairs == [(2, 2), (0, 2)]
