"""What stands behind a model's last convolutions and matrix products: in a detector, where boxes and scores meet."""

import onnx

HEAVY = ("Conv", "Gemm", "MatMul")


def tail(data: bytes) -> frozenset[str]:
    """Return the nodes behind the last convolutions and matrix products: between any of those and the outputs stands none.

    There, scores and boxes of a detector meet in one tensor, and one scale for both leaves the scores nothing.
    """
    graph = onnx.load_from_string(data).graph
    makers = {name: node for node in graph.node for name in node.output}
    found: set[str] = set()
    waiting = [value.name for value in graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.op_type in (*HEAVY, "ConvTranspose", "LSTM", "GRU") or node.name in found:
            continue
        found.add(node.name)
        waiting.extend(node.input)
    return frozenset(found)
