"""What a model says of itself by the Open Inference Protocol: metadata, configuration, statistics."""

from collections.abc import Mapping
from typing import Any

from edgefleet_protocol.manifest import Interface, TensorSpec

from .core import Core

Json = dict[str, Any]

_TYPES = {"FP16": "TYPE_FP16", "FP32": "TYPE_FP32", "FP64": "TYPE_FP64", "BYTES": "TYPE_STRING"}


def platform(core: Core) -> str:
    """Return what other servers call this runtime's models."""
    return "onnxruntime_onnx" if core.spec.runtime == "onnxruntime" else core.spec.runtime


def metadata(core: Core) -> Json:
    """Return name, version and tensors; in `parameters` what the release adds: who, labels and interface."""

    def rows(tensors: Mapping[str, TensorSpec]) -> list[Json]:
        return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors.values()]

    return {
        "name": core.spec.model,
        "versions": [core.version],
        "platform": platform(core),
        "inputs": rows(core.inputs),
        "outputs": rows(core.outputs),
        # The protocol lets a tensor's row have three fields and `parameters` have any: the contract goes there.
        "parameters": {
            **core.who,
            "labels": list(core.spec.interface.labels),
            "interface": contract(core.spec.interface),
        },
    }


def config(core: Core) -> Json:
    """Return the model configuration as Triton's clients read it. No batches are made of requests, so their dimension
    is one like the others."""

    def rows(tensors: Mapping[str, TensorSpec]) -> list[Json]:
        return [
            {"name": t.name, "data_type": _TYPES.get(t.datatype, f"TYPE_{t.datatype}"), "dims": list(t.shape)}
            for t in tensors.values()
        ]

    return {
        "name": core.spec.model,
        "platform": platform(core),
        "backend": core.spec.runtime,
        "version_policy": {"specific": {"versions": [int(core.version)]}},
        "max_batch_size": 0,
        "input": rows(core.inputs),
        "output": rows(core.outputs),
        "instance_group": [{"name": core.spec.model, "kind": "KIND_CPU", "count": 1}],
        "parameters": {name: {"string_value": value} for name, value in core.who.items()},
    }


def statistics(core: Core) -> Json:
    """Return what was counted since this worker started."""
    seen = core.counters
    good = seen.answered_total

    def times(count: int, ns: int) -> Json:
        return {"count": count, "ns": ns}

    around = max(0, seen.answered_ns - seen.queue_ns - seen.infer_ns)
    return {
        "model_stats": [
            {
                "name": core.spec.model,
                "version": core.version,
                "last_inference": seen.last_ms,
                "inference_count": good,
                "execution_count": good,
                "inference_stats": {
                    "success": times(good, seen.answered_ns),
                    "fail": times(seen.refused_total, seen.refused_ns),
                    "queue": times(good, seen.queue_ns),
                    "compute_input": times(good, around),
                    "compute_infer": times(good, seen.infer_ns),
                    "compute_output": times(0, 0),
                },
                "batch_stats": [],
            }
        ]
    }


def contract(interface: Interface) -> Json:
    """Return what the tensors mean, by their names: all of the release's interface that the protocol has no field for."""
    return {
        "task": interface.task,
        "thresholds": dict(interface.thresholds),
        "inputs": {
            row.name: {
                "layout": row.layout,
                "colour": row.colour,
                "range": list(row.range) if row.range is not None else None,
                "resize": row.resize,
            }
            for row in interface.inputs
        },
        "outputs": {row.name: {"meaning": row.meaning} for row in interface.outputs},
    }
