"""A tiny model that is right and wants more memory than the device gives: it says less in its release than it takes."""

import onnx
from msgspec.structs import replace
from onnx import TensorProto, helper

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.manifest import Release
from tests.fakes.tiny_model import OUTPUT_NAME


def greedy(release: Release, files: dict[str, bytes]) -> tuple[Release, dict[str, bytes]]:
    """Return the release with models that write to 400 MB before they answer what they did."""
    changed = dict(files)
    for variant in release.variants:
        changed[variant.files[0]] = _hungry(files[variant.files[0]], 100_000_000)
    entries = tuple(
        replace(entry, bytes=len(changed[entry.name]), sha256=sha256_hex(changed[entry.name]))
        for entry in release.files
    )
    variants = tuple(replace(variant, bytes=len(changed[variant.files[0]])) for variant in release.variants)
    return replace(release, files=entries, variants=variants), changed


def _hungry(data: bytes, elements: int) -> bytes:
    model = onnx.load_from_string(data)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["answer" if name == OUTPUT_NAME else name for name in node.output]
    graph.initializer.extend(
        [helper.make_tensor("none", TensorProto.FLOAT, [1], [0.0]),
         helper.make_tensor("many", TensorProto.INT64, [1], [elements])]
    )  # fmt: skip
    graph.node.extend(
        [helper.make_node("Expand", ["none", "many"], ["wide"]),
         helper.make_node("Abs", ["wide"], ["wider"]),
         helper.make_node("ReduceMax", ["wider"], ["zero"], keepdims=0),
         helper.make_node("Add", ["answer", "zero"], [OUTPUT_NAME])]
    )  # fmt: skip
    hungry: bytes = model.SerializeToString()
    return hungry
