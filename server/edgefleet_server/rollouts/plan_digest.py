"""What a plan comes to, in a line that says also which part of it is another one now. Pure.

It is made of four digests, one for each thing that may change between a plan and its start, and of the devices of each stage by number: whoever
starts needs to keep nothing but this line, and any server can say what changed.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .words import devices_in_words

LENGTH = 16
"""Of each digest, in hexadecimal: 64 bits are plenty against accidents, and nobody gains by a clash but who could start what they like anyway."""
PATTERN = re.compile(
    rf"([0-9a-f]{{{LENGTH}}})([0-9a-f]{{{LENGTH}}})([0-9a-f]{{{LENGTH}}})([0-9a-f]{{{LENGTH}}})((?:-[0-9]{{1,9}}){{1,32}})"
)
MOST = 4 * LENGTH + 32 * 10
"""Characters of the longest one."""


@dataclass(frozen=True)
class Parts:
    """What may be another one at the start than it was in the plan."""

    order: str
    """The release, its stages and gates, whom it is for, and the policy."""
    over: str
    """What the region runs, and which rollout is cut short."""
    takes: str
    """Which variant each class takes."""
    devices: str
    """Who comes in which stage."""
    counts: tuple[int, ...]
    """How many they are in each stage."""

    def __str__(self) -> str:
        return "".join((self.order, self.over, self.takes, self.devices, *(f"-{count}" for count in self.counts)))


def parse(text: str) -> Parts | None:
    """Return the parts of a plan's line, or None for what is none."""
    found = PATTERN.fullmatch(text)
    if found is None:
        return None
    order, over, takes, devices, counts = found.groups()
    return Parts(order, over, takes, devices, tuple(int(part) for part in counts[1:].split("-")))


def short(data: bytes) -> str:
    """Return the digest of one part."""
    return hashlib.sha256(data).hexdigest()[:LENGTH]


def of_devices(stages: Sequence[Sequence[str]]) -> str:
    """Return the digest of the devices of each stage, whatever order they come in."""
    whole = hashlib.sha256()
    for names in stages:
        # Names have no line ends, so no two lists of lists read alike.
        whole.update("\n".join(sorted(names)).encode())
        whole.update(b"\n\n")
    return whole.hexdigest()[:LENGTH]


def together(plans: Sequence[Parts]) -> Parts:
    """Return one of the plans of all regions: they have the same stages. Of one region it is that one."""
    if len(plans) == 1:
        return plans[0]
    return Parts(
        order=short(" ".join(row.order for row in plans).encode()),
        over=short(" ".join(row.over for row in plans).encode()),
        takes=short(" ".join(row.takes for row in plans).encode()),
        devices=short(" ".join(row.devices for row in plans).encode()),
        counts=tuple(sum(counts) for counts in zip(*(row.counts for row in plans), strict=True)),
    )


def differences(planned: Parts, now: Parts) -> tuple[str, ...]:
    """Return in words what is another one now; none where nothing is."""
    found = []
    if planned.order != now.order:
        found.append("the order is another one: its stages, gates, audience or the region's policy")
    if planned.over != now.over:
        found.append("what the region runs, or what is rolled out there, is another release")
    if planned.takes != now.takes:
        found.append("some class takes another variant")
    if planned.counts != now.counts:
        found.append(f"the devices of the stages were {_counts(planned)} and are {_counts(now)}")
    elif planned.devices != now.devices:
        found.append(f"the stages have as many devices as before ({_counts(now)}), and not the same ones")
    return tuple(found)


def _counts(parts: Parts) -> str:
    total = f" ({devices_in_words(sum(parts.counts))})" if len(parts.counts) > 1 else ""
    return f"{', '.join(map(str, parts.counts))}{total}"
