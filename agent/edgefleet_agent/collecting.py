"""Removing what nothing needs: chunks, slots and documents. Active and previous are always needed, whatever the disk says."""

from collections.abc import Collection, Iterable, Mapping

from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Rollout

from .observe import Documents
from .slots import slot_name
from .store import Store
from .store.facts import ModelFacts


def collect(
    store: Store,
    documents: Documents,
    models: Iterable[str],
    decided: Collection[str],
    ahead: Mapping[str, str] | None = None,
) -> None:
    """Remove what no model needs.

    decided: models for which a step was decided since the start; before that, their slots are left alone.
    ahead: by model, the variant that is fetched and tried ahead.
    """
    chunks: set[str] = set()
    engines: set[str] = set()
    wanted = {*store.facts.trust.manifests, store.facts.trust.rollout or ""}
    for model in models:
        facts = store.facts.facts.model(model)
        if facts.pin is not None:
            wanted.add(facts.pin.release_sha256)
        kept = [slot for slot in (facts.active, facts.previous) if slot is not None]
        slots = {slot.slot for slot in kept}
        needed = [(slot.release_sha256, slot.variant) for slot in kept]
        if (choice := facts.choice) is not None and choice.variant is not None:
            needed += [(choice.release_sha256, name) for name in (choice.variant, *_of_governor(facts, documents))]
            if model in (ahead or {}):
                needed.append((choice.release_sha256, (ahead or {})[model]))
        slots |= {slot_name(sha256, variant) for sha256, variant in needed}
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


def _of_governor(facts: ModelFacts, documents: Documents) -> set[str]:
    """Return the variants of the chosen release that the governor may move between without fetching them anew."""
    rollout, governed, choice = documents.rollout(), facts.governed, facts.choice
    if choice is None or not isinstance(rollout, Rollout) or rollout.policy.governor is None:
        return set()
    names = set(governed.below) if governed is not None and governed.release_sha256 == choice.release_sha256 else set()
    begins = slot_name(choice.release_sha256, "")
    return names | {row.slot[len(begins) :] for row in facts.trials if row.passed and row.slot.startswith(begins)}


def _chunks_of(documents: Documents, sha256: str, variant_name: str) -> set[str]:
    release = documents.release(sha256)
    variant = release.variant(variant_name) if isinstance(release, Release) else None
    if not isinstance(release, Release) or variant is None:
        return set()
    return {chunk.sha256 for entry in release.files_for(variant) for chunk in entry.chunks}
