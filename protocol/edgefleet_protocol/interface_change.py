"""What differs between the interfaces of two releases, in words. Agent and server refuse a change by the same ones. Pure."""

from collections.abc import Sequence

import msgspec

from .manifest import Interface, TensorSpec


def differences(before: Interface, after: Interface) -> tuple[str, ...]:
    """Return, each in a few words, what an application that knows `before` would stumble over; nothing when it would not."""
    if before == after:
        return ()
    found = [] if before.task == after.task else [f"the task was {before.task} and is {after.task}"]
    found += _tensors("input", before.inputs, after.inputs)
    found += _tensors("output", before.outputs, after.outputs)
    if before.labels != after.labels:
        found.append(_labels(before.labels, after.labels))
    if before.thresholds != after.thresholds:
        names = sorted(
            name
            for name in before.thresholds.keys() | after.thresholds.keys()
            if before.thresholds.get(name) != after.thresholds.get(name)
        )
        found.append(f"the thresholds differ: {', '.join(names[:5])}")
    return tuple(found)


def _tensors(kind: str, before: Sequence[TensorSpec], after: Sequence[TensorSpec]) -> list[str]:
    names = [row.name for row in before], [row.name for row in after]
    if names[0] != names[1]:
        return [f"the {kind}s were {', '.join(names[0])} and are {', '.join(names[1])}"]
    found = []
    for old, new in zip(before, after, strict=True):
        was, now = msgspec.structs.asdict(old), msgspec.structs.asdict(new)
        found += [
            f"the {field} of {kind} {old.name} was {_word(was[field])} and is {_word(now[field])}"
            for field in was
            if was[field] != now[field]
        ]
    return found


def _labels(before: Sequence[str], after: Sequence[str]) -> str:
    if len(before) != len(after):
        return f"there were {len(before)} labels and are {len(after)}"
    place = next(place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    return f"label {place} was {before[place]} and is {after[place]}"


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(str(part) for part in value)})"
    return str(value) if value not in ("", None) else "not said"
