"""The hostile ONNX files: each is a small classifier (input 4 -> logits 3) that does something else besides."""

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.onnx_bytes import integers, node, tensor, value_info
from tests.fakes.onnx_bytes import model as whole
from tests.fakes.tiny_model import floats, weights
from tests.protocol import wire

SECRET = b"\x42\x42\x42\x42" * 12
"""Lies outside; a runtime that follows a path would compute with it."""
MATRIX, BIAS = weights(0)


@dataclass(frozen=True)
class Case:
    """A file, what lies beside it, and whether its bytes alone show what is wrong."""

    name: str
    model: bytes
    static: bool = True
    beside: dict[str, bytes] = field(default_factory=dict)


def cases(outside: Path) -> list[Case]:
    """Return all of them. outside: a folder with `secret.bin`, that no model has any business with."""
    up = "../" * 16
    places = {
        "parent folder": "../secret.bin",
        "down and up again": "sub/../../secret.bin",
        "absolute path": str(outside / "secret.bin"),
        "/etc/passwd by ..": up + "etc/passwd",
        "symlink": "link.bin",
        "symlinked folder": "linked/secret.bin",
        "hard link": "hard.bin",
        "address tag": "*/_ORT_MEM_ADDR_/*",
    }
    rows = [Case(name, _external(place)) for name, place in places.items()]
    beside = {"weights.bin": floats(MATRIX)}
    rows += [
        Case("offset beyond the file", _external("weights.bin", offset=str(1 << 40)), beside=beside),
        Case("negative offset", _external("weights.bin", offset="-16"), beside=beside),
        Case("length beyond the file", _external("weights.bin", length="4096"), beside=beside),
        Case("hidden in a subgraph", _hidden("../secret.bin")),
        Case("negative dimension", _classifier(wire.tensor(-4, 3, raw=floats(MATRIX), name="W"))),
        Case("unknown domain", _classifier(_inline(), wire.node("Evil", domain="com.evil"))),
        Case("functions doubling 2^22", _functions(22)),
        Case("random bytes", random.Random(22).randbytes(4000)),
        Case("cut file", _classifier(_inline())[:-9]),
        Case("2 GiB constant", _constant(1 << 29), static=False),
        Case("endless loop", _loop(1 << 62), static=False),
    ]
    return rows


def honest() -> list[Case]:
    """Return two that must be taken: weights within, and weights in a file that the release lists."""
    beside = {"weights.bin": floats(MATRIX)}
    return [
        Case("honest", _classifier(_inline())),
        Case("honest, weights beside", _external("weights.bin", offset="0", length="48"), beside=beside),
    ]


def _inline() -> bytes:
    return wire.tensor(4, 3, raw=floats(MATRIX), name="W")


def _external(location: str, **more: str) -> bytes:
    return _classifier(wire.tensor(4, 3, outside={"location": location, **more}, name="W"))


def _classifier(w: bytes, *nodes: bytes, tensors: tuple[bytes, ...] = (), last: str = "b") -> bytes:
    own = [node("MatMul", ["input", "W"], ["product"]), node("Add", ["product", last], ["logits"])]
    return whole(
        [*nodes, *own],
        initializers=[w, tensor("b", [3], BIAS), *tensors],
        inputs=[value_info("input", ["n", 4])],
        outputs=[value_info("logits", ["n", 3])],
    )


def _hidden(location: str) -> bytes:
    """A constant in both branches of an If."""
    part = wire.tensor(4, 3, outside={"location": location}, name="v")
    bodies = []
    for branch in ("then_branch", "else_branch"):
        constant = wire.block(2, "W") + wire.block(4, "Constant")
        constant += wire.block(5, wire.block(1, "value") + wire.block(5, part) + wire.number(20, 4))
        body = wire.block(1, constant) + wire.block(2, "g") + wire.block(12, value_info("W", [4, 3]))
        bodies.append(wire.block(1, branch) + wire.block(6, body) + wire.number(20, 5))
    chosen = (
        wire.block(1, "yes") + wire.block(2, "W") + wire.block(4, "If") + b"".join(wire.block(5, b) for b in bodies)
    )
    yes = wire.tensor(raw=b"\x01", data_type=9, name="yes")
    return whole(
        [chosen, node("MatMul", ["input", "W"], ["product"]), node("Add", ["product", "b"], ["logits"])],
        initializers=[yes, tensor("b", [3], BIAS)],
        inputs=[value_info("input", ["n", 4])],
        outputs=[value_info("logits", ["n", 3])],
    )


def _functions(levels: int) -> bytes:
    """Local functions, each of which calls the one before twice."""
    bodies = []
    for level in range(levels + 1):
        inner = (
            [("Neg", "", "a", "b")]
            if level == 0
            else [(f"F{level - 1}", "loc", "a", "c"), (f"F{level - 1}", "loc", "c", "b")]
        )
        parts = wire.block(1, f"F{level}") + wire.block(4, "a") + wire.block(5, "b")
        for operator, domain, source, target in inner:
            row = wire.block(1, source) + wire.block(2, target) + wire.block(4, operator)
            parts += wire.block(7, row + (wire.block(7, domain) if domain else b""))
        imports = wire.block(9, wire.opset(17)) + wire.block(9, wire.opset(1, "loc"))
        bodies.append(wire.block(25, parts + imports + wire.block(10, "loc")))
    call = wire.block(1, "input") + wire.block(2, "same") + wire.block(4, f"F{levels}") + wire.block(7, "loc")
    own = [call, node("MatMul", ["same", "W"], ["product"]), node("Add", ["product", "b"], ["logits"])]
    file = whole(
        own, [_inline(), tensor("b", [3], BIAS)], [value_info("input", ["n", 4])], [value_info("logits", ["n", 3])]
    )
    return file + wire.block(8, wire.opset(1, "loc")) + b"".join(bodies)


def _constant(elements: int) -> bytes:
    """166 bytes that ask for 2 GiB."""
    one = wire.block(1, "value") + wire.block(5, wire.tensor(1, raw=b"\0\0\x80\x3f", name="v")) + wire.number(20, 4)
    nodes = [
        node("ConstantOfShape", ["size"], ["big"], one),
        node("ReduceMax", ["big"], ["most"], wire.block(1, "keepdims") + wire.number(3, 0) + wire.number(20, 2)),
    ]
    return _classifier(_inline(), *nodes, tensors=(integers("size", [1], [elements]),), last="most")


def _loop(times: int) -> bytes:
    """A loop that does not end in a lifetime."""
    body = b"".join(
        wire.block(1, each) for each in (node("Identity", ["go"], ["on"]), node("Add", ["a", "a"], ["twice"]))
    )

    def typed(name: str, kind: int, dims: bytes = b"") -> bytes:
        return wire.block(1, name) + wire.block(2, wire.block(1, wire.number(1, kind) + wire.block(2, dims)))

    body += wire.block(2, "body")
    for name, kind in (("i", 7), ("go", 9)):
        body += wire.block(11, typed(name, kind))
    body += wire.block(11, value_info("a", [3]))
    body += wire.block(12, typed("on", 9)) + wire.block(12, value_info("twice", [3]))
    loop = node("Loop", ["n", "yes", "b"], ["last"], wire.block(1, "body") + wire.block(6, body) + wire.number(20, 5))
    yes = wire.tensor(raw=b"\x01", data_type=9, name="yes")
    count = wire.tensor(raw=times.to_bytes(8, "little"), data_type=7, name="n")
    return _classifier(_inline(), loop, tensors=(yes, count), last="last")
