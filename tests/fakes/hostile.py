"""JSON documents made wrong in one of many ways."""

import random
from collections.abc import Callable


def hostile(body: bytes, seed: int) -> bytes:
    """Return `body` made wrong in one of many ways."""
    rng = random.Random(seed)
    ways: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: b"null",
        lambda: b"[" * 3000 + b"]" * 3000,
        lambda: b'{"signed":' * 900 + b"1" + b"}" * 900,
        lambda: body[: rng.randrange(len(body))],
        lambda: body + body,
        lambda: body.replace(b'"version":', b'"version":' + b"9" * rng.choice((3, 300, 5000)), 1),
        lambda: body.replace(b'"version":', b'"version":-', 1),
        lambda: body.replace(b"{", b'{"x":NaN,', 1),
        lambda: body.replace(b'"expires":"2', b'"expires":"9', 1),
        lambda: body.replace(b'"signatures":[', b'"signatures":[{"keyid":"a","sig":"zz"},', 1),
        lambda: body.replace(b'"signed":{', b'"signed":{"q":' + b"[" * 700 + b"]" * 700 + b",", 1),
        lambda: body.replace(b'"_type":"', b'"_type":"x', 1),
        lambda: rng.randbytes(rng.randrange(1, 400)),
    ]
    if rng.random() < 0.5:
        return rng.choice(ways)()
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)
