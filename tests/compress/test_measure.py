"""Figures are counted, not guessed: arithmetic, bytes, memory, and the graph that Arm gets."""

import dataclasses

import pytest

from edgefleet_compress.candidate import Candidate
from edgefleet_compress.errors import CompressError
from edgefleet_compress.measure import Measures, measure
from edgefleet_compress.measure.macs import count_macs
from edgefleet_compress.measure.memory import peak_memory_bytes
from edgefleet_compress.measure.size import wire_bytes
from edgefleet_compress.runtime import coverage
from edgefleet_compress.steps.quantize_static import QuantizeStatic
from edgefleet_compress.targets import latency_table, targets
from edgefleet_protocol.hardware import class_of
from edgefleet_protocol.manifest import Requirement
from tests.compress.conftest import Trained

# The tiny network: 3x3 over 14x14 from 1 to 16 channels, the same from 16 to 16, and 16 to 10.
TINY_MACS = 14 * 14 * 9 * 16 + 14 * 14 * 9 * 16 * 16 + 160


def quantized(trained: Trained) -> Candidate:
    return QuantizeStatic(samples=64).apply(trained.exported, trained.workload, trained.context)


def test_multiplications_are_counted_by_number_format(trained: Trained) -> None:
    assert trained.exported.onnx is not None
    fp32 = count_macs(trained.exported.onnx)
    assert (fp32.fp32, fp32.int8) == (TINY_MACS, 0)
    int8 = quantized(trained).onnx
    assert int8 is not None
    assert (count_macs(int8).fp32, count_macs(int8).int8) == (0, TINY_MACS)


def test_a_variant_is_scored_with_the_graph_that_arm_gets(trained: Trained) -> None:
    int8 = quantized(trained).onnx
    assert int8 is not None
    measures = measure(int8, trained.workload)
    assert measures.int8_kernels == measures.kernels == 3
    assert "QLinearConv" in coverage(int8, "arm").operators
    assert 0 < measures.accuracy < 1 and measures.samples == 300
    assert measures.wire_bytes == wire_bytes(int8) and measures.bytes == len(int8)
    assert Measures.of_facts(dataclasses.asdict(measures)) == measures


def test_a_model_that_cannot_be_loaded_is_reported_with_its_last_words(trained: Trained) -> None:
    with pytest.raises(CompressError, match="ended early"):
        peak_memory_bytes(b"not a model", trained.workload.test.inputs[:1].numpy())


def test_every_target_is_a_class_that_devices_report_and_says_where_its_numbers_come_from() -> None:
    boards = {
        "pi-zero-2-w": "raspberrypi,model-zero-2-w", "pi3": "raspberrypi,3-model-b", "pi4": "raspberrypi,4-model-b",
        "pi5": "raspberrypi,5-model-b", "orin-nano": "nvidia,p3768-0000+p3767-0005", "orin-nx": "nvidia,p3768-0000+p3767-0000",
        "agx-orin": "nvidia,p3737-0000+p3701-0000", "jetson-nano": "nvidia,p3450-0000", "tx2": "nvidia,p2771-0000",
        "xavier-nx": "nvidia,p3668-0000",
        "generic-x86-64": "", "generic-aarch64": "",
    }  # fmt: skip
    assert {target.name for target in targets()} == set(boards)
    for target in targets():
        assert class_of((boards[target.name],), target.arch) == target.name
        assert len(target.source) > 10


def test_int8_gains_much_where_there_is_a_dot_product_and_little_where_there_is_none() -> None:
    for target in targets():
        gain = target.int8_macs_per_s / target.fp32_macs_per_s
        if "asimddp" in target.features:
            assert 2.8 <= gain <= 3.3
        elif target.arch == "aarch64":
            assert 1.2 <= gain <= 1.6


def test_a_class_without_an_instruction_set_that_is_needed_gets_no_prediction() -> None:
    needs = Requirement(features=("asimddp",))
    measures = Measures(0.9, 300, 1000, 900, 0.001, 50_000_000, 0, 1_000_000, 10, 3, 3)
    predicted = {row.hardware_class for row in latency_table(measures, needs) if row.how == "predicted"}
    assert {"pi5", "orin-nano"} <= predicted
    assert not {"pi4", "pi3", "pi-zero-2-w", "jetson-nano", "tx2", "xavier-nx", "generic-aarch64"} & predicted
    assert {row.hardware_class for row in latency_table(measures, Requirement())} >= {
        target.name for target in targets()
    }
    assert not any(target.can_run(Requirement(arch=("riscv64",))) for target in targets())
