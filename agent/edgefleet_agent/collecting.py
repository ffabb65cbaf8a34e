"""Removing what nothing needs: chunks, slots and documents. Active and previous are always needed, whatever the disk says."""

from collections.abc import Collection, Iterable

from edgefleet_protocol.manifest import Release

from .observe import Documents
from .slots import slot_name
from .store import Store


def collect(store: Store, documents: Documents, models: Iterable[str], decided: Collection[str]) -> None:
    """Remove what no model needs.

    decided: models for which a step was decided since the start; before that, their slots are left alone.
    """
    chunks: set[str] = set()
    engines: set[str] = set()
    wanted = {*store.facts.trust.manifests, store.facts.trust.rollout or ""}
    for model in models:
        facts = store.facts.facts.model(model)
        kept = [slot for slot in (facts.active, facts.previous) if slot is not None]
        slots = {slot.slot for slot in kept}
        needed = [(slot.release_sha256, slot.variant) for slot in kept]
        if facts.choice is not None and facts.choice.variant is not None:
            needed.append((facts.choice.release_sha256, facts.choice.variant))
            slots.add(slot_name(facts.choice.release_sha256, facts.choice.variant))
        names = {slot_name(sha256, variant) for sha256, variant in needed}
        engines |= {fact.engine for fact in facts.trials if fact.slot in names}
        for sha256, variant in needed:
            wanted.add(sha256)
            chunks |= _chunks_of(documents, sha256, variant)
        if model in decided:
            store.releases.keep_only(model, slots)
    store.engines.keep_only(engines)
    store.chunks.keep_only(chunks)
    store.facts.keep_documents(wanted)
    documents.forget_others(wanted)


def _chunks_of(documents: Documents, sha256: str, variant_name: str) -> set[str]:
    release = documents.release(sha256)
    variant = release.variant(variant_name) if isinstance(release, Release) else None
    if not isinstance(release, Release) or variant is None:
        return set()
    return {chunk.sha256 for entry in release.files_for(variant) for chunk in entry.chunks}
