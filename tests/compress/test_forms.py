"""Steps that change what weights are: few values, zeros, thinner layers, other activations, blocks of bits."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from edgefleet_compress.candidate import Candidate
from edgefleet_compress.errors import CannotQuantize, RecipeError
from edgefleet_compress.gates.coverage import table
from edgefleet_compress.invariants import int8_weights
from edgefleet_compress.measure.size import wire_bytes
from edgefleet_compress.runtime import answers, coverage, open_session
from edgefleet_compress.steps import Context
from edgefleet_compress.steps.alphabet import Alphabet
from edgefleet_compress.steps.aware import Aware, folded
from edgefleet_compress.steps.distill import Distill
from edgefleet_compress.steps.export import Export
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.steps.low_rank import LowRank
from edgefleet_compress.steps.quantize_dynamic import QuantizeDynamic
from edgefleet_compress.steps.quantize_static import QuantizeStatic
from edgefleet_compress.steps.quantize_weights import QuantizeWeights
from edgefleet_compress.steps.scales import short
from edgefleet_compress.steps.separable import Separable, product_form
from edgefleet_compress.steps.sparsify import Sparsify
from edgefleet_compress.steps.swap_activations import SwapActivations
from edgefleet_compress.steps.tidy import tidy
from edgefleet_compress.training import evaluate, predict
from tests.compress.conftest import Trained

SHORT = Finetune(epochs=1, learning_rate=0.001)


def layers(candidate: Candidate) -> dict[str, nn.Module]:
    assert candidate.module is not None
    return {name: layer for name, layer in candidate.module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def letters(weight: np.ndarray) -> int:
    return max(len(np.unique(row)) for row in weight.reshape(len(weight), -1))


def int8_of(candidate: Candidate, trained: Trained) -> Candidate:
    exported = Export().apply(candidate, trained.workload, trained.context)
    return QuantizeStatic(samples=64).apply(exported, trained.workload, trained.context)


def test_an_alphabet_survives_export_and_int8_and_runs_on_the_int8_kernels(trained: Trained) -> None:
    made = Alphabet(levels=15, recover=SHORT).apply(trained.original, trained.workload, trained.context)
    assert all(letters(layer.weight.detach().numpy()) <= 15 for layer in layers(made).values())
    done = int8_of(made, trained)
    weights = int8_weights(done.onnx_bytes("test"))
    assert len(weights) == 3 and all(letters(weight) <= 15 for weight in weights)
    found = coverage(done.onnx_bytes("test"), "arm")
    assert found.int8 == found.all
    plain = int8_weights(int8_of(trained.original, trained).onnx_bytes("test"))
    assert max(letters(weight) for weight in plain) > 15


def test_training_moves_weights_from_letter_to_letter(trained: Trained) -> None:
    def body(rate: float) -> np.ndarray:
        step = Alphabet(levels=5, recover=Finetune(epochs=1, learning_rate=rate))
        made = step.apply(trained.original, trained.workload, trained.context)
        return layers(made)["body.0"].weight.detach().numpy()

    still, taught = body(1e-9), body(0.05)
    assert letters(still) <= 5 and letters(taught) <= 5
    assert (still != taught).any()


def test_a_file_that_lost_the_alphabet_or_the_zeros_is_refused(trained: Trained) -> None:
    exported = Export().apply(trained.original, trained.workload, trained.context)
    for facts, words in (
        ({"alphabet": 3}, "different values in a channel and the alphabet before it has 3"),
        ({"zeros": 0.9}, "zeros and 90.0% of the weights were zero before"),
    ):
        claims = exported.then("claims", onnx=exported.onnx, **facts)
        with pytest.raises(CannotQuantize, match=words):
            QuantizeStatic(samples=64).apply(claims, trained.workload, trained.context)


def test_zeros_stay_zero_through_training_and_int8(trained: Trained) -> None:
    made = Sparsify(ratio=0.6, recover=SHORT).apply(trained.original, trained.workload, trained.context)
    assert made.facts["zeros"] == pytest.approx(0.6, abs=0.01)
    weights = int8_weights(int8_of(made, trained).onnx_bytes("test"))
    share = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.size for weight in weights)
    assert share >= 0.59


def test_two_of_four_inputs_stay_and_layers_without_groups_are_left_alone(trained: Trained) -> None:
    made = Sparsify(pattern="2:4", recover=SHORT).apply(trained.original, trained.workload, trained.context)
    body = layers(made)["body.0"].weight.detach()
    groups = body.movedim(1, -1).reshape(-1, 4)
    assert int((groups != 0).sum(1).max()) == 2
    assert bool((layers(made)["stem.0"].weight != 0).all())


def test_low_rank_layers_answer_nearly_alike_and_cost_less(trained: Trained) -> None:
    before = predict(trained.original.module, trained.workload.example(50))
    made = LowRank(energy=0.6, recover=Finetune(epochs=1, learning_rate=1e-9)).apply(
        trained.original, trained.workload, trained.context
    )
    size = sum(layer.weight.numel() for layer in layers(made).values())
    assert size < sum(layer.weight.numel() for layer in layers(trained.original).values())
    after = predict(made.module, trained.workload.example(50))
    assert after.shape == before.shape
    with pytest.raises(RecipeError, match="no layer costs less in two"):
        LowRank(energy=0.999, round_to=64).apply(trained.original, trained.workload, trained.context)


def test_the_product_form_is_exact_where_the_layer_is_a_product() -> None:
    torch.manual_seed(0)
    product = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.Conv2d(8, 16, 1))
    dense = nn.Conv2d(8, 16, 3, 1, 1)
    with torch.no_grad():
        dense.weight.copy_(product[1].weight * product[0].weight[:, 0][None])
        dense.bias.copy_(product[1].bias)
    inputs = torch.randn(2, 8, 9, 9)
    assert torch.allclose(product_form(dense)(inputs), dense(inputs), atol=1e-5)


def test_separable_blocks_replace_wide_convolutions_and_learn_from_them(trained: Trained) -> None:
    raw = Separable(fit_steps=0, recover=SHORT).apply(trained.original, trained.workload, trained.context)
    fitted = Separable(fit_steps=60, recover=SHORT).apply(trained.original, trained.workload, trained.context)
    assert raw.facts["layers_rewritten"] == 1
    assert float(fitted.facts["worst_fit"]) < float(raw.facts["worst_fit"])
    assert layers(fitted)["body.0.0"].groups == 16


def test_activations_without_a_kernel_are_swapped_and_called_ones_cannot_be(trained: Trained) -> None:
    net = nn.Sequential(nn.Conv2d(1, 16, 3, 2), nn.Hardswish(), nn.Flatten(), nn.Linear(16 * 169, 10))
    candidate, context = Candidate(module=net), Context(0, trained.context.progress, net)
    before = int8_of(candidate, trained)
    made = SwapActivations(recover=SHORT).apply(candidate, trained.workload, context)
    assert [type(layer) for layer in made.module if isinstance(layer, nn.ReLU6 | nn.Hardswish)] == [nn.ReLU6]
    after = coverage(int8_of(made, trained).onnx_bytes("test"), "arm")
    assert after.nodes < coverage(before.onnx_bytes("test"), "arm").nodes
    with pytest.raises(RecipeError, match="cannot be replaced from outside"):
        SwapActivations().apply(trained.original, trained.workload, trained.context)


def products(rows: int = 256) -> bytes:
    """A model that is two matrix products, as a transformer's feed-forward part is."""
    draw = np.random.default_rng(0)
    weights = {"a": draw.normal(size=(784, rows)), "b": draw.normal(size=(rows, 10))}
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "a"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("image", 1, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", 1, ["batch", 10])],
        [numpy_helper.from_array((value / 28).astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.mark.parametrize(
    "step", [QuantizeDynamic(), QuantizeWeights(bits=4), QuantizeWeights(bits=8, accuracy_level="float")]
)
def test_matrix_products_get_smaller_and_mostly_keep_their_answers(step, trained: Trained) -> None:
    data = products()
    made = step.apply(Candidate(onnx=data, lineage=("export",)), trained.workload, trained.context).onnx_bytes("test")
    assert len(made) < 0.35 * len(data)
    inputs = trained.workload.example(100).numpy()
    want, got = (answers(open_session(model), inputs).argmax(1) for model in (data, made))
    assert (want == got).mean() > 0.9


@pytest.mark.parametrize(
    ("step", "words"),
    [(QuantizeDynamic(), "no kernel for a convolution|Use quantize_static"), (QuantizeWeights(), "no 4-bit kernel")],
)
def test_a_convolutional_network_is_refused_with_what_to_use_instead(step, words: str, trained: Trained) -> None:
    net = nn.Sequential(nn.Conv2d(1, 10, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    exported = Export().apply(Candidate(module=net), trained.workload, trained.context)
    with pytest.raises(CannotQuantize, match=words):
        step.apply(exported, trained.workload, trained.context)


def test_symmetric_and_unsigned_activations_are_what_they_say(trained: Trained) -> None:
    def zero_points(step: QuantizeStatic) -> set[tuple[str, int]]:
        graph = onnx.load_from_string(
            step.apply(trained.exported, trained.workload, trained.context).onnx_bytes("test")
        ).graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        points = [constants[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
        return {(str(point.dtype), int(point)) for point in points}

    assert zero_points(QuantizeStatic(samples=64, symmetric=True)) == {("int8", 0)}
    assert {kind for kind, _ in zero_points(QuantizeStatic(samples=64, activations="unsigned"))} == {"uint8"}
    with pytest.raises(RecipeError, match="symmetric must be false for unsigned"):
        QuantizeStatic(symmetric=True, activations="unsigned")


def test_folding_changes_no_answer_and_leaves_biases_that_learn(trained: Trained) -> None:
    model = folded(trained.original.copy_of_module("test"))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    inputs = trained.workload.example(20)
    assert torch.allclose(predict(model, inputs), predict(trained.original.module, inputs), atol=1e-4)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_aware_training_inside_an_alphabet_ends_on_the_int8_kernels(trained: Trained) -> None:
    step = Aware(levels=7, recover=Distill(epochs=1, learning_rate=0.002))
    made = step.apply(trained.original, trained.workload, trained.context)
    data = int8_of(made, trained).onnx_bytes("test")
    found = coverage(data, "arm")
    assert found.int8 == found.all
    assert max(letters(weight) for weight in int8_weights(data)) <= 7


def test_letters_are_small_whole_numbers_where_scales_are_short(trained: Trained) -> None:
    step = Aware(levels=7, recover=SHORT)
    made = step.apply(trained.original, trained.workload, trained.context)
    exported = Export().apply(made, trained.workload, trained.context)
    plain, small = (
        QuantizeStatic(samples=64, short_scales=short_scales).apply(exported, trained.workload, trained.context)
        for short_scales in (False, True)
    )
    assert all(abs(weight).max() <= 3 for weight in int8_weights(small.onnx_bytes("test")))
    assert wire_bytes(tidy(small.onnx_bytes("test"))) < wire_bytes(tidy(plain.onnx_bytes("test")))
    assert coverage(small.onnx_bytes("test"), "arm").int8 == coverage(plain.onnx_bytes("test"), "arm").int8
    inputs = trained.workload.example(200).numpy()
    both = [answers(open_session(each.onnx_bytes("test")), inputs).argmax(1) for each in (plain, small)]
    assert (both[0] == both[1]).mean() > 0.97


def test_a_short_scale_is_never_too_small_and_at_most_a_sixteenth_too_large() -> None:
    values = np.random.default_rng(0).lognormal(size=2000).astype(np.float32)
    found = short(values)
    assert (found >= values).all() and (found <= values * (1 + 1 / 16)).all()
    assert np.array_equal(short(found), found)  # what is short stays
    assert not (found.view(np.uint32) & 0x7FFFF).any()


def test_aware_training_while_distilling_does_not_leave_what_the_original_knew(trained: Trained) -> None:
    """Ranges that learn as fast as weights are known to end at chance; ours are observed once, before training."""
    step = Aware(recover=Distill(epochs=1, learning_rate=0.01))
    made = step.apply(trained.original, trained.workload, trained.context)
    whole = evaluate(trained.original.module, trained.workload, trained.workload.validation)
    assert float(made.facts["validation"]) > whole - 0.05


def test_an_aware_file_has_its_weights_in_bytes_its_biases_in_whole_numbers_and_no_quantizers_in_between(
    trained: Trained,
) -> None:
    """Exports of fake-quantized modules keep float weights behind a quantizer, and residuals and pooling in floating point."""
    made = int8_of(Aware(recover=SHORT).apply(trained.original, trained.workload, trained.context), trained)
    data = made.onnx_bytes("test")
    graph = onnx.load_from_string(data).graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    quantized = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert not [node.name for node in quantized if node.input[0] in constants]
    stored = [constants[n.input[0]] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    assert set(stored) == {onnx.TensorProto.INT8, onnx.TensorProto.INT32}
    assert stored.count(onnx.TensorProto.INT32) == len(layers(trained.original))
    found, plain = table(data, "arm"), table(int8_of(trained.original, trained).onnx_bytes("test"), "arm")
    assert found.quantizers_left == plain.quantizers_left and found.int8 == found.all
    float_bytes = len(Export().apply(trained.original, trained.workload, trained.context).onnx_bytes("test"))
    assert len(tidy(data)) < 0.5 * float_bytes


def test_what_training_saw_is_what_int8_answers(trained: Trained) -> None:
    """The parity that fake-quantized exports are known to lose: the file answers as the rounded module did."""
    made = Aware(recover=SHORT).apply(trained.original, trained.workload, trained.context)
    inputs = trained.workload.example(200)
    want = predict(made.module, inputs).argmax(1).numpy()
    got = answers(open_session(int8_of(made, trained).onnx_bytes("test"), "arm"), inputs.numpy()).argmax(1)
    assert (want == got).mean() > 0.95


def test_a_model_that_cannot_be_traced_is_refused_with_the_reason(trained: Trained) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1)) if x.sum() > 0 else self.layer(-x.flatten(1))

    with pytest.raises(RecipeError, match="cannot be traced"):
        folded(Branching())
