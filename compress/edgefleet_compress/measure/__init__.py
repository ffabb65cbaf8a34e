"""What is measured of every variant: accuracy on held-out data, bytes, time and memory on this machine, and its work."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..runtime import coverage
from ..workload import Workload
from .accuracy import accuracy
from .latency import latency_p50_s
from .macs import count_macs
from .memory import peak_memory_bytes
from .size import wire_bytes


@dataclass(frozen=True)
class Measures:
    """Figures of one ONNX file."""

    accuracy: float
    """The workload's metric on the test data, scored with the graph that Arm gets."""
    samples: int
    bytes: int
    wire_bytes: int
    latency_p50_s: float
    """Of this machine: batch 1, one thread, the graph that onnxruntime builds here."""
    memory_bytes: int
    """Peak of a process that loads it and answers, with a margin."""
    fp32_macs: int
    int8_macs: int
    arm_nodes: int
    """Operators left in the graph that Arm runs."""
    int8_kernels: int
    kernels: int

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "Measures":
        """Return what was measured before."""
        return cls(**facts)


def measure(model: bytes, workload: Workload) -> Measures:
    """Return all figures of `model`."""
    macs = count_macs(model)
    arm = coverage(model, "arm")
    return Measures(
        accuracy=accuracy(model, workload),
        samples=len(workload.test),
        bytes=len(model),
        wire_bytes=wire_bytes(model),
        latency_p50_s=latency_p50_s(model, workload.test.inputs.numpy()),
        memory_bytes=peak_memory_bytes(model, workload.test.inputs[:1].numpy()),
        fp32_macs=macs.fp32,
        int8_macs=macs.int8,
        arm_nodes=arm.nodes,
        int8_kernels=arm.int8,
        kernels=arm.all,
    )
