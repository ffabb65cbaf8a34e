"""Where a variant runs on this device: the provider, the engine, the way its session is set up. From facts and hardware."""

from dataclasses import dataclass
from pathlib import Path

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Release, Variant

from .serve import providers
from .slots import slot_name
from .store import Store
from .store.facts import ModelFacts, TrialFact
from .tuning import Tuning


@dataclass(frozen=True)
class Place:
    """What a worker is started with, and why."""

    provider: str
    why: str
    engine: str = ""
    """Name of the engine; empty where none is needed."""
    tuning: Tuning | None = None


@dataclass
class Placing:
    """What is known of places. `tensorrt`: the installed version, empty when there is none."""

    store: Store
    hardware: Hardware
    tensorrt: str = ""

    @property
    def board(self) -> str:
        """Name of all that a trial here depends on beyond the variant."""
        return providers.board_key(self.hardware, self.tensorrt)

    def trial(self, facts: ModelFacts, release: Release, sha256: str, variant: Variant) -> Place | None:
        """Return where `variant` is tried next; None when every provider failed here."""
        fact = facts.trial(slot_name(sha256, variant.name))
        refused = fact.refused if fact is not None and fact.board in ("", self.board) else {}
        plan = providers.plan(variant, self._offered(variant), refused)
        if plan is None:
            return None
        return Place(plan.provider, plan.why, self._engine(plan.provider, release, variant))

    def serving(self, facts: ModelFacts, release: Release, sha256: str, variant: Variant) -> Place | None:
        """Return where `variant` serves; None when it passed its trial only on what is no longer there."""
        fact = facts.trial(slot_name(sha256, variant.name))
        if fact is None or not fact.provider:
            return Place(variant.requires.provider, "as its release says")
        engine = self._engine(fact.provider, release, variant)
        offered = self._offered(variant)
        if fact.provider in offered and (not engine or (engine == fact.engine and engine in self.store.engines)):
            same = fact.board == self.board
            return Place(fact.provider, "as its trial found", engine, fact.tuning if same else None)
        named = {row.provider for row in variant.golden.tolerances}
        for provider in reversed(providers.FASTEST_FIRST):
            if provider in offered and provider in named and not providers.builds(provider):
                why = f"on {provider} until it is tried anew: its trial on {fact.provider} was under another system or GPU"
                return Place(provider, why)
        return None

    def engine_folder(self, place: Place) -> Path | None:
        """Return the folder of the engine of `place`, or None where none is needed."""
        return self.store.engines.path(place.engine) if place.engine else None

    def due(self, fact: TrialFact | None) -> bool:
        """Return whether a trial that passed was under another system, GPU or runtime."""
        return fact is not None and fact.passed and fact.board not in ("", self.board)

    def _offered(self, variant: Variant) -> tuple[str, ...]:
        runtime = self.hardware.runtime(variant.runtime)
        return runtime.providers if runtime is not None else ()

    def _engine(self, provider: str, release: Release, variant: Variant) -> str:
        if not providers.builds(provider):
            return ""
        profile = providers.shape_profile(release.golden_inputs)
        return providers.engine_key(self.hardware, self.tensorrt, release.file(variant.files[0]).sha256, profile)
