"""Detectors: the metric, the scenes, and that a small one keeps its boxes through compression."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_compress import recipe, workload
from edgefleet_compress.candidate import Candidate
from edgefleet_compress.detection import MeanAveragePrecision, found, iou
from edgefleet_compress.example import detector, scenes
from edgefleet_compress.gates.judge import answers_of, judge
from edgefleet_compress.gates.limits import Limits
from edgefleet_compress.package.golden import golden_answers
from edgefleet_compress.progress import Silent
from edgefleet_compress.runtime import activation_types
from edgefleet_compress.steps import Context
from edgefleet_compress.steps.distill import Distill
from edgefleet_compress.steps.export import Export
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.steps.head import tail
from edgefleet_compress.steps.prune import Prune
from edgefleet_compress.steps.quantize_static import QuantizeStatic
from edgefleet_compress.workload import Workload
from edgefleet_protocol.manifest import BOX_ROWS

EXAMPLE = Path(detector.__file__).parent


def outputs_of(targets: torch.Tensor, places: int = 8, labels: int = 3) -> torch.Tensor:
    """Return what a perfect detector says."""
    rows = torch.zeros(len(targets), places, 5 + labels)
    for picture, things in enumerate(targets):
        for place, thing in enumerate(things[things[:, 4] >= 0]):
            rows[picture, place, :4] = thing[:4]
            rows[picture, place, 4] = 1.0
            rows[picture, place, 5 + int(thing[4])] = 1.0
    return rows


@st.composite
def truths(choose: st.DrawFn) -> torch.Tensor:
    pictures = choose(st.integers(1, 4))
    targets = torch.full((pictures, 3, 5), -1.0)
    for picture in range(pictures):
        for thing in range(choose(st.integers(0, 3))):
            side = choose(st.integers(4, 15))
            corner = 20 * thing
            label = choose(st.integers(0, 2))
            targets[picture, thing] = torch.tensor([corner, 3, corner + side, 3 + side, label])
    return targets


@settings(max_examples=50, deadline=None)
@given(truths())
def test_a_perfect_detector_has_all_and_a_blind_one_nothing(targets: torch.Tensor) -> None:
    metric = MeanAveragePrecision(3)
    anything = bool((targets[..., 4] >= 0).any())
    assert metric(outputs_of(targets), targets) == (1.0 if anything else 0.0)
    assert metric(torch.zeros(len(targets), 8, 8), targets) == 0.0
    assert metric(torch.full((len(targets), 8, 8), float("nan")), targets) == 0.0


def test_precision_and_recall_are_those_of_the_definition() -> None:
    """Two things; found: one right (0.9), one wrong (0.8), one right (0.7). Precision 1 to a half, then 2/3 to the end."""
    targets = torch.tensor([[[0, 0, 10, 10, 0], [30, 30, 40, 40, 0]]]).float()
    rows = torch.zeros(1, 3, 6)
    rows[0, :, 5] = 1.0
    rows[0, 0, :5] = torch.tensor([0, 0, 10, 10, 0.9])
    rows[0, 1, :5] = torch.tensor([15, 15, 22, 22, 0.8])
    rows[0, 2, :5] = torch.tensor([30, 31, 40, 41, 0.7])
    assert MeanAveragePrecision(1)(rows, targets) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert MeanAveragePrecision(1, iou=0.9)(rows, targets) == pytest.approx(0.5)


def test_of_boxes_that_meet_the_surer_stays_and_other_labels_are_left_alone() -> None:
    rows = np.zeros((3, 7), np.float32)
    rows[:, :4] = [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]]
    rows[:, 4] = [0.6, 0.9, 0.8]
    rows[[0, 1, 2], [5, 5, 6]] = 1.0
    boxes, scores, labels = found(rows)
    assert scores.tolist() == pytest.approx([0.9, 0.8]) and labels.tolist() == [0, 1]
    assert boxes[0].tolist() == [1, 0, 11, 10]


def test_overlap_is_a_share() -> None:
    one = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], float)
    assert iou(one, np.array([[0, 0, 10, 5], [20, 20, 30, 30]], float)).tolist() == [[0.5, 0.0], [0.0, 0.0]]


def test_scenes_are_the_same_each_time_and_their_boxes_lie_inside() -> None:
    pictures, truth = scenes.scenes("validation", 40)
    again, _ = scenes.scenes.__wrapped__("validation", 40)
    assert torch.equal(pictures, again) and float(pictures.min()) >= 0 and float(pictures.max()) <= 1
    things = truth[truth[..., 4] >= 0]
    assert len(things) > 40 and bool((things[:, :4] >= 0).all()) and bool((things[:, :4] <= scenes.SIDE).all())


@pytest.fixture(scope="module")
def small() -> Workload:
    """The example's detector on few scenes."""
    few = {name: scenes.scenes(name, count) for name, count in (("train", 640), ("validation", 64), ("test", 200))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "scenes", lambda split: few[split])
        made = detector.workload()
    workload.check(made)
    return made


def test_a_detector_keeps_its_boxes_with_a_float_head_and_loses_them_without(small: Workload) -> None:
    start = Context(0, Silent())
    original = Finetune(epochs=6).apply(Candidate(module=small.make_model()), small, start)
    context = Context(0, Silent(), original.module)
    exported = Export().apply(original, small, context)
    assert exported.onnx is not None
    behind = {
        node.op_type for node in onnx.load_from_string(exported.onnx).graph.node if node.name in tail(exported.onnx)
    }
    assert {"Exp", "Sigmoid", "Softmax", "Concat"} <= behind and "Conv" not in behind

    float_head = QuantizeStatic(samples=64, head="float").apply(exported, small, context)
    whole = QuantizeStatic(samples=64).apply(exported, small, context)
    assert float_head.onnx is not None and whole.onnx is not None
    assert "head float" in float_head.lineage[-1] and activation_types(float_head.onnx) == {onnx.TensorProto.INT8}
    want, near, far = (answers_of(data, small) for data in (exported.onnx, float_head.onnx, whole.onnx))
    shares = [float(np.abs(got - want)[..., 4:].mean()) for got in (near, far)]
    assert shares[0] < shares[1] / 3
    assert "bootstrap" in judge(want, near, small, Limits()).method

    tolerance = golden_answers(float_head.onnx, *(small.test.inputs[:8].numpy(),) * 2, meaning=BOX_ROWS).tolerance
    assert tolerance.max_abs < 0.3 and tolerance.min_top1 == 0.9  # of scores, not of pixels

    pruned = Prune(ratio=0.3, tolerance_points=100, attempts=1, recover=Distill(epochs=1)).apply(
        original, small, context
    )
    assert float(pruned.facts["parameters_left"]) < 0.7


def test_distillation_brings_a_detector_nearer_to_the_original_in_its_own_terms(small: Workload) -> None:
    torch.manual_seed(1)
    teacher, student = small.make_model().eval(), small.make_model()
    context = Context(0, Silent(), teacher)

    def apart() -> float:
        with torch.no_grad():
            return float(detector.distil(student.eval()(small.example(32)), teacher(small.example(32))))

    before = apart()
    Distill(epochs=1, weight=1.0).train(student, small, context)
    assert apart() < before


def test_the_examples_recipes_can_be_read() -> None:
    names = [entry.name for entry in recipe.load(EXAMPLE / "detector.toml").variants]
    assert names == ["fp32", "int8", "p30", "p30-int8", "aware15", "int8-whole"]
