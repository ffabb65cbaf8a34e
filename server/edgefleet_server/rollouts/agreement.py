"""How often two releases answer the same golden inputs alike. Pure.

Every device answers the golden inputs of a release as it is signed, within its tolerance, before the release serves there, and once more
through the serving path. So where two releases have the same golden inputs, their signed answers say how the two models agree on every
device that proved both, and no device needs to be asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgefleet_protocol.manifest import Release, TensorFile, Variant

MOST_BYTES = 16_000_000
"""Of golden answers that are read; larger ones are for nobody's memory."""


@dataclass(frozen=True)
class Agreement:
    """Of so many golden inputs, the share whose answer is the same; None where nobody can say, with the reason."""

    share: float | None
    inputs: int
    why: str


def agreement(old: Release, new: Release, read: Callable[[Release, str], bytes | None]) -> Agreement:
    """Return how `new` agrees with `old`: of its variants the one that agrees least, with the most accurate of the old one.

    read: a file of a release by its name, or None when it cannot be had.
    """
    if [_named(old, row) for row in old.golden_inputs] != [_named(new, row) for row in new.golden_inputs]:
        return Agreement(None, 0, f"{new.name} has other golden inputs than {old.name}")
    before = max(old.variants, key=lambda row: row.accuracy.value)
    known = _tops(old, before, read)
    if known is None:
        return Agreement(None, 0, f"the golden answers of {old.name} are no classes that can be compared")
    found: list[tuple[float, str]] = []
    for variant in new.variants:
        tops = _tops(new, variant, read)
        if tops is None or len(tops) != len(known):
            return Agreement(None, 0, f"the golden answers of {new.name} ({variant.name}) cannot be compared")
        same = sum(one == other for one, other in zip(known, tops, strict=True))
        found.append((same / len(known), variant.name))
    share, name = min(found)
    words = f"{name} answers {share:.1%} of {len(known)} golden inputs as {before.name} of {old.name} does"
    return Agreement(share, len(known), words)


def _named(release: Release, row: TensorFile) -> tuple[str, str]:
    return row.name, release.file(row.file).sha256


def _tops(release: Release, variant: Variant, read: Callable[[Release, str], bytes | None]) -> Sequence[int] | None:
    """Return the largest place of each row of the first answer, or None where it is no table of 32-bit numbers."""
    row = variant.golden.outputs[0]
    if row.datatype != "FP32" or len(row.shape) != 2 or row.shape[1] < 2:
        return None
    count, width = row.shape
    if not 0 < count * width * 4 <= MOST_BYTES:
        return None
    data = read(release, row.file)
    if data is None or len(data) != count * width * 4:
        return None
    values = memoryview(data).cast("f")  # little-endian, as every machine that serves this
    return [max(range(width), key=values[start : start + width].__getitem__) for start in range(0, len(values), width)]
