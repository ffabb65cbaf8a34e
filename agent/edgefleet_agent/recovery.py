"""When the facts are lost, what lies on the disk says what can serve: whole slots whose verified manifests are here.

None of it is believed to have served before: it takes the road of any candidate (tried, golden inputs, switch), only without
the network, so that a device whose facts were damaged serves again within a minute, wherever it is.
"""

from msgspec.structs import replace

from edgefleet_protocol.codec import decode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import Release, Variant
from edgefleet_protocol.names import is_sha256

from . import __version__
from .slots import slot_name
from .store import Store
from .store.facts import Facts, ModelFacts


def recovered(store: Store, facts: Facts) -> Facts:
    """Return the facts with, for each model that has slots and no active one, the releases that could serve."""
    found: dict[str, list[tuple[int, str]]] = {}
    for sha256 in store.disk.list(store.state / "documents"):
        release = _release(store, sha256)
        if release is not None and variants_here(release, sha256, store):
            found.setdefault(release.model, []).append((release.version, sha256))
    models = dict(facts.models)
    for model, rows in found.items():
        known = facts.model(model)
        if known.active is None:
            newest_first = tuple(sha256 for _, sha256 in sorted(rows, reverse=True))
            models[model] = replace(known, recovered=newest_first)
    return replace(facts, models=models)


def candidate(facts: ModelFacts, wished: str | None) -> str | None:
    """Return the release that is brought back first: the wished one where it is among them, else the newest; None for none."""
    if facts.active is not None:
        return None
    rows = [row for row in facts.recovered if not any(one.release_sha256 == row for one in facts.failures)]
    return wished if wished in rows else (rows[0] if rows else None)


def variants_here(release: Release, sha256: str, store: Store) -> tuple[Variant, ...]:
    """Return the variants of a release whose slots are on the disk."""
    slots = store.releases.slots(release.model)
    return tuple(variant for variant in release.variants if slot_name(sha256, variant.name) in slots)


def _release(store: Store, sha256: str) -> Release | None:
    """Return the stored manifest of that name; None for a rollout, and for what is damaged."""
    data = store.facts.document(sha256) if is_sha256(sha256) else None
    try:
        return decode(data, Release, agent_version=__version__) if data is not None else None
    except ProtocolError:
        return None
