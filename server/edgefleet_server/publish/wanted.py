"""What should be retained now, and in which order it is put there. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgefleet_protocol.manifest import Release, Variant
from edgefleet_protocol.topics import Topics

from ..store.retained import UNSETTLED


@dataclass(frozen=True)
class Item:
    """One retained topic. `payload` is None for a chunk, which is read from the repository when it is sent."""

    topic: str
    digest: str
    """Tells one payload of a topic from another; a chunk's name says it already."""
    payload: bytes | None
    bytes: int


@dataclass(frozen=True)
class Wanted:
    """All that should be retained: chunks, then documents, then metadata, whose last are timestamp and head.

    So whoever reads a timestamp finds what it names. `left_out`: chunks that did not fit into the budget; a device that
    lacks one asks for it.
    """

    items: tuple[Item, ...]
    left_out: tuple[str, ...]

    @property
    def by_topic(self) -> dict[str, str]:
        """The digest by topic."""
        return {item.topic: item.digest for item in self.items}


def chunks_of(release: Release, variants: Iterable[Variant]) -> dict[str, int]:
    """Return the bytes on the wire of every chunk that the variants need, by digest, in the order of their files."""
    return {
        chunk.sha256: chunk.wire_bytes
        for variant in variants
        for entry in release.files_for(variant)
        for chunk in entry.chunks
    }


def wanted(
    topics: Topics,
    *,
    chunks: Mapping[str, int],
    asked: Sequence[tuple[str, int]],
    targets: Mapping[str, bytes],
    metadata: Mapping[str, bytes],
    assignments: Mapping[str, bytes],
    budget_bytes: int,
) -> Wanted:
    """Return what should be retained.

    chunks: of the picked variants, with their bytes on the wire.
    asked: other chunks that devices asked for, the newest last; they stay for a while.
    budget_bytes: for everything; documents and metadata come first, since nothing works without them.
    """
    documents = [_item(topics.target(sha256), data) for sha256, data in targets.items()]
    documents += [_item(topics.of_device(device, "assignment"), data) for device, data in assignments.items()]
    signed = [_item(topics.trust(name), data) for name, data in metadata.items()]
    left = budget_bytes - sum(item.bytes for item in (*documents, *signed))
    kept: dict[str, Item] = {}
    left_out: list[str] = []
    # What was asked for comes before what may be asked for.
    for sha256, size in (*reversed(asked), *chunks.items()):
        if sha256 in kept:
            continue
        if size > left:
            left_out.append(sha256)
            continue
        left -= size
        kept[sha256] = Item(topics.chunk(sha256), sha256, None, size)
    return Wanted((*kept.values(), *documents, *signed), tuple(left_out))


def settled(present: Mapping[str, str]) -> dict[str, str]:
    """Return the topics of which it is known what they hold."""
    return {topic: digest for topic, digest in present.items() if digest != UNSETTLED}


def marker(present: Mapping[str, str]) -> bytes:
    """Return a fingerprint of everything that is retained: its topics, and the digest of what each holds."""
    lines = "".join(f"{topic} {digest}\n" for topic, digest in sorted(present.items()))
    return hashlib.sha256(lines.encode()).hexdigest().encode()


def _item(topic: str, payload: bytes) -> Item:
    return Item(topic, hashlib.sha256(payload).hexdigest(), payload, len(payload))
