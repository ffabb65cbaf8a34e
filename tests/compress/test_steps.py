"""What each step promises, on a small network that was really trained."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgefleet_compress.candidate import Candidate
from edgefleet_compress.errors import CannotQuantize, ExportMismatch, RecipeError, ToleranceMissed, TrainingFailed
from edgefleet_compress.progress import Silent
from edgefleet_compress.runtime import activation_types, answers, coverage, open_session, session_keys
from edgefleet_compress.steps import Context
from edgefleet_compress.steps.distill import Distill
from edgefleet_compress.steps.export import Export, check_parity, check_versions
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.steps.prune import IMPORTANCE, Prune, cut
from edgefleet_compress.steps.quantize_static import METHODS, QuantizeStatic
from edgefleet_compress.steps.tidy import Tidy, tidy
from edgefleet_compress.training import evaluate, predict, recover_batchnorm
from tests.compress.conftest import Trained


def weights(module: nn.Module | None) -> list[torch.Tensor]:
    assert module is not None
    return [parameter.detach().clone() for parameter in module.parameters()]


def onnx_of(candidate: Candidate) -> bytes:
    assert candidate.onnx is not None
    return candidate.onnx


@pytest.fixture(scope="module")
def int8(trained: Trained) -> Candidate:
    return QuantizeStatic(samples=64).apply(trained.exported, trained.workload, trained.context)


# --- training


def test_the_same_seed_trains_to_the_same_weights_and_leaves_the_candidate_as_it_was(trained: Trained) -> None:
    before = weights(trained.original.module)
    step = Finetune(epochs=1)
    one, two = (step.apply(trained.original, trained.workload, trained.context) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(weights(one.module), weights(two.module), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trained.original.module), strict=True))
    other = step.apply(trained.original, trained.workload, Context(1, Silent()))
    assert not all(torch.equal(a, b) for a, b in zip(weights(one.module), weights(other.module), strict=True))


def test_a_loss_that_leaves_the_numbers_ends_training_and_says_where(trained: Trained) -> None:
    broken = dataclasses.replace(trained.workload, loss=lambda outputs, targets: outputs.sum() * float("inf"))
    with pytest.raises(TrainingFailed, match=r"became -?(inf|nan) in epoch 1, batch 1.*learning rate"):
        Finetune(epochs=1).apply(trained.original, broken, trained.context)


def test_distillation_brings_a_fresh_network_nearer_to_the_original(trained: Trained) -> None:
    workload, teacher = trained.workload, trained.context.original
    assert teacher is not None
    torch.manual_seed(3)
    fresh = Candidate(module=workload.make_model())
    taught = Distill(epochs=2, learning_rate=0.1, weight=1.0).apply(fresh, workload, trained.context)

    def distance(module: nn.Module | None) -> float:
        assert module is not None
        outputs = predict(module, workload.test.inputs).softmax(1)
        return float((outputs - predict(teacher, workload.test.inputs).softmax(1)).abs().mean())

    assert distance(taught.module) < distance(fresh.module)


def test_the_original_cannot_learn_from_itself(trained: Trained) -> None:
    with pytest.raises(RecipeError, match="cannot be a step of the original"):
        Distill(epochs=1).apply(trained.original, trained.workload, Context(0, Silent()))


# --- pruning


def test_pruning_leaves_multiples_of_eight_channels_and_the_outputs_as_they_are(trained: Trained) -> None:
    step = Prune(ratio=0.4, tolerance_points=100, recover=Distill(epochs=1))
    pruned = step.apply(trained.original, trained.workload, trained.context)
    assert pruned.module is not None
    widths = [layer.out_channels for layer in pruned.module.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [8, 8]
    assert predict(pruned.module, trained.workload.example(3)).shape == (3, 10)
    assert pruned.lineage[-1] == "prune 40 % + distill 1 epochs"
    assert pruned.facts["prune_ratio"] == 0.4


@pytest.mark.parametrize("criterion", IMPORTANCE)
@pytest.mark.parametrize("scope", ["global", "isomorphic"])
def test_channels_compete_beyond_their_layer_by_any_criterion(criterion: str, scope: str, trained: Trained) -> None:
    step = Prune(
        ratio=0.4, criterion=criterion, scope=scope, round_to=4, tolerance_points=100, recover=Finetune(epochs=1)
    )  # type: ignore[arg-type]
    pruned = step.apply(trained.original, trained.workload, trained.context)
    assert pruned.module is not None and float(pruned.facts["parameters_left"]) < 1
    widths = [layer.out_channels for layer in pruned.module.modules() if isinstance(layer, nn.Conv2d)]
    assert all(width % 4 == 0 and width >= 4 for width in widths)
    assert scope in pruned.lineage[-1] and predict(pruned.module, trained.workload.example(3)).shape == (3, 10)


def test_rounds_together_leave_what_one_cut_would(trained: Trained) -> None:
    step = Prune(ratio=0.75, rounds=2, round_to=4, tolerance_points=100, recover=Finetune(epochs=1))
    pruned = step.apply(trained.original, trained.workload, trained.context)
    assert pruned.module is not None
    assert [layer.out_channels for layer in pruned.module.modules() if isinstance(layer, nn.Conv2d)] == [4, 4]
    assert pruned.lineage[-1] == "prune 75 % in 2 rounds + finetune 1 epochs"


def test_layers_to_keep_are_kept_and_unknown_ones_are_named(trained: Trained) -> None:
    model = trained.original.copy_of_module("test")
    cut(model, trained.workload.example(), 0.5, 8, keep=("stem.0",))
    assert [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)] == [16, 16]
    with pytest.raises(RecipeError, match=r"keep names \['nose'\], and the model has \['stem'"):
        cut(model, trained.workload.example(), 0.5, 8, keep=("nose",))


def test_the_ratio_is_lowered_until_validation_loses_little_enough(trained: Trained) -> None:
    judged: list[int] = []

    def metric(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        judged.append(len(outputs))
        return [0.9, 0.5, 0.897][len(judged) - 1]  # the original, the first ratio, the second

    workload = dataclasses.replace(trained.workload, metric=metric)
    step = Prune(ratio=0.7, lower_by=0.2, round_to=4, recover=Finetune(epochs=1))
    pruned = step.apply(trained.original, workload, trained.context)
    assert pruned.facts["prune_ratio"] == 0.5 and pruned.facts["validation"] == 0.897
    assert pruned.lineage[-1].startswith("prune 50 %")
    assert set(judged) == {len(workload.validation)}


def test_when_no_ratio_stays_within_the_tolerance_every_loss_is_said(trained: Trained) -> None:
    values = iter([0.9, 0.5, 0.6, 0.7])
    workload = dataclasses.replace(trained.workload, metric=lambda outputs, targets: next(values))
    step = Prune(ratio=0.75, lower_by=0.25, round_to=4, attempts=2, recover=Finetune(epochs=1))
    with pytest.raises(ToleranceMissed, match=r"75% lost 40\.00; 50% lost 30\.00"):
        step.apply(trained.original, workload, trained.context)


def test_batchnorm_measured_anew_brings_back_what_shifted_statistics_lost(trained: Trained) -> None:
    model = trained.original.copy_of_module("test")
    whole = evaluate(model, trained.workload, trained.workload.train)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean += 5
            layer.running_var *= 100
    broken = evaluate(model, trained.workload, trained.workload.train)
    recover_batchnorm(model, trained.workload)
    assert evaluate(model, trained.workload, trained.workload.train) > max(broken, 0.9 * whole)
    assert all(layer.momentum == 0.1 for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))


def test_a_ratio_that_rounds_to_the_same_channels_is_not_trained(trained: Trained) -> None:
    step = Prune(ratio=0.1, round_to=8, tolerance_points=100, recover=Finetune(epochs=1))
    with pytest.raises(ToleranceMissed, match=r"10% comes to the same once rounded to 8 channels"):
        step.apply(trained.original, trained.workload, trained.context)


# --- export


def test_the_export_is_what_was_asked_for_and_answers_as_torch_does(trained: Trained) -> None:
    model = onnx.load_from_string(onnx_of(trained.exported))
    assert model.ir_version == 8 and model.opset_import[0].version == 17
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert trained.original.module is not None
    want = predict(trained.original.module, trained.workload.test.inputs).numpy()
    for batch in (1, 7, 300):
        got = answers(open_session(onnx_of(trained.exported), "default"), trained.workload.test.inputs.numpy(), batch)
        assert np.allclose(got, want, atol=1e-4)


def test_another_opset_is_had_for_the_asking(trained: Trained) -> None:
    old = Export(opset=15).apply(trained.original, trained.workload, trained.context)
    assert onnx.load_from_string(onnx_of(old)).opset_import[0].version == 15


@pytest.mark.parametrize(
    ("opset", "ir", "words"), [(16, 8, "opset 16 was asked for and the exporter wrote 17"), (17, 7, "IR 7 was asked")]
)
def test_other_versions_than_asked_for_fail(opset: int, ir: int, words: str, trained: Trained) -> None:
    with pytest.raises(ExportMismatch, match=words):
        check_versions(onnx_of(trained.exported), opset, ir)
    with pytest.raises(ExportMismatch, match="IR 7 was asked for and the exporter wrote 8"):
        Export(ir=7).apply(trained.original, trained.workload, trained.context)


def test_weights_outside_the_file_fail(trained: Trained) -> None:
    model = onnx.load_from_string(onnx_of(trained.exported))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx.data")
    with pytest.raises(ExportMismatch, match=r"model\.onnx\.data"):
        check_versions(model.SerializeToString(), 17, 8)


def test_a_file_that_answers_otherwise_than_torch_fails(trained: Trained) -> None:
    other = trained.original.copy_of_module("test")
    with torch.no_grad():
        next(other.parameters()).mul_(1.05)
    with pytest.raises(ExportMismatch, match=r"differ from torch's by .* is allowed"):
        check_parity(other, onnx_of(trained.exported), trained.workload, 1e-4)


# --- int8


def test_int8_runs_on_int8_kernels_under_arm_rules_and_not_all_of_it_under_the_rules_of_x86(int8: Candidate) -> None:
    arm = coverage(onnx_of(int8), "arm")
    assert "QLinearConv" in arm.operators
    assert arm.int8 == arm.all == 3
    assert int8.facts["int8_kernels"] == "3/3"


def test_signed_activations_are_never_given_both_session_keys(int8: Candidate) -> None:
    assert activation_types(onnx_of(int8)) == {onnx.TensorProto.INT8}
    assert session_keys(onnx_of(int8), "arm") == {"session.qdqisint8allowed": "1"}
    assert session_keys(onnx_of(int8), "default") == {}


def test_weights_are_signed_with_a_scale_for_each_channel(int8: Candidate) -> None:
    graph = onnx.load_from_string(onnx_of(int8)).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kernels = [tensor for tensor in constants.values() if len(tensor.dims) == 4]
    assert kernels and all(tensor.data_type == onnx.TensorProto.INT8 for tensor in kernels)
    readers = {node.input[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    assert all(list(constants[readers[kernel.name].input[1]].dims) == [kernel.dims[0]] for kernel in kernels)


@pytest.mark.parametrize("method", METHODS)
def test_every_calibration_method_keeps_most_answers_and_its_mouth_shut(
    method: str, trained: Trained, capfd: pytest.CaptureFixture[str]
) -> None:
    made = QuantizeStatic(method=method, samples=64).apply(trained.exported, trained.workload, trained.context)  # type: ignore[arg-type]
    inputs = trained.workload.test.inputs.numpy()
    before = answers(open_session(onnx_of(trained.exported)), inputs).argmax(1)
    assert (answers(open_session(onnx_of(made)), inputs).argmax(1) == before).mean() > 0.9
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("method", METHODS)
def test_calibration_leaves_standard_output_to_the_command(
    method: str, trained: Trained, capfd: pytest.CaptureFixture[str]
) -> None:
    QuantizeStatic(method=method, samples=32).apply(trained.exported, trained.workload, trained.context)  # type: ignore[arg-type]
    assert capfd.readouterr().out == ""


def test_whatever_the_quantizer_below_raises_is_said_in_one_line(trained: Trained) -> None:
    data = trained.exported.onnx_bytes("test")
    step = QuantizeStatic(samples=64)
    other = onnx.load_from_string(data)
    for node in other.graph.node:  # ranges of one model, names of another: the library meets a tensor that it never saw
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                side[place] = name.replace("/", "_")
    with pytest.raises(CannotQuantize, match=r"onnxruntime cannot quantize the model: \w+: ") as caught:
        step.write(other.SerializeToString(), step.ranges(data, trained.workload), ())
    assert "\n" not in str(caught.value)


def test_what_is_quantized_already_is_refused(int8: Candidate, trained: Trained) -> None:
    with pytest.raises(CannotQuantize, match="quantized already"):
        QuantizeStatic(samples=64).apply(int8, trained.workload, trained.context)


def test_more_samples_than_there_are_is_refused_with_both_numbers(trained: Trained) -> None:
    with pytest.raises(CannotQuantize, match="5000 calibration samples were asked for and the workload has 400"):
        QuantizeStatic(samples=5000).apply(trained.exported, trained.workload, trained.context)


def test_nodes_to_exclude_stay_in_floating_point_and_unknown_ones_are_named(trained: Trained) -> None:
    graph = onnx.load_from_string(onnx_of(trained.exported)).graph
    head = next(node.name for node in graph.node if node.op_type == "Gemm")
    made = QuantizeStatic(samples=64, exclude=(head,)).apply(trained.exported, trained.workload, trained.context)
    assert made.facts["int8_kernels"] == "2/3"
    with pytest.raises(CannotQuantize, match=r"exclude names \['nose'\]"):
        QuantizeStatic(samples=64, exclude=("nose",)).apply(trained.exported, trained.workload, trained.context)


def test_a_step_on_the_wrong_side_of_the_border_says_where_it_belongs(trained: Trained) -> None:
    with pytest.raises(RecipeError, match="put the step 'export' before it"):
        QuantizeStatic().apply(trained.original, trained.workload, trained.context)
    with pytest.raises(RecipeError, match="needs a torch module and stands after 'export opset 17'"):
        Finetune().apply(trained.exported, trained.workload, trained.context)


# --- tidy


def test_tidy_makes_the_file_smaller_and_changes_no_answer(int8: Candidate, trained: Trained) -> None:
    inputs = trained.workload.test.inputs.numpy()
    for candidate in (int8, trained.exported):
        after = Tidy().apply(candidate, trained.workload, trained.context)
        assert len(onnx_of(after)) < len(onnx_of(candidate))
        old, new = open_session(onnx_of(candidate)), open_session(onnx_of(after))
        assert np.array_equal(answers(old, inputs), answers(new, inputs))
        assert [value.name for value in new.get_inputs() + new.get_outputs()] == ["image", "logits"]
        onnx.checker.check_model(onnx_of(after))


def test_tidy_twice_is_tidy_once(int8: Candidate) -> None:
    once = tidy(onnx_of(int8))
    assert tidy(once) == once
