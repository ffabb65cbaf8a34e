"""Applying recipes. Each finished step is kept, so a second run, or another variant that begins alike, takes it from there."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch

from .candidate import Candidate
from .environment import versions
from .errors import CompressError, ToleranceMissed
from .gates.insurance import Verdict
from .gates.judge import answers_of, judge
from .gates.limits import Limits
from .measure import Measures, measure
from .progress import Progress
from .recipe import CPU, ORIGINAL, Recipe, Recipes
from .runtime import Array
from .steps import Context, Step
from .work import Work, key_of
from .workload import Loaded


@dataclass(frozen=True)
class Made:
    """A finished variant."""

    name: str
    candidate: Candidate
    measures: Measures
    features: tuple[str, ...] = ()
    """What its recipe says that a device must have."""
    provider: str = CPU
    verdict: Verdict | None = None
    """How it compares with the original; None for the original itself."""


@dataclass(frozen=True)
class LeftOut:
    """A variant that no setting in its recipe could keep within its tolerance, or that a gate refused."""

    name: str
    why: str


@dataclass(frozen=True)
class Outcome:
    """What a run made, in the order of the recipes."""

    made: tuple[Made, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Pipeline:
    """One run over one workload."""

    loaded: Loaded
    work: Work
    progress: Progress
    seed: int = 0

    def run(self, recipes: Recipes) -> Outcome:
        """Return every variant, made and measured. Whatever ends it early, finished steps are kept."""
        with self.loaded.neighbours.at_work():
            return self._run(recipes)

    def _run(self, recipes: Recipes) -> Outcome:
        start = key_of(self.loaded.digest, str(self.seed), json.dumps(versions()))
        torch.manual_seed(self.seed)
        fresh = Candidate(module=self.loaded.workload.make_model())
        original, key = self._apply(ORIGINAL, recipes.original, fresh, start, None)
        made: list[Made] = []
        left_out: list[LeftOut] = []
        for recipe in recipes.variants:
            try:
                made.append(self._make(recipe, original, key))
            except ToleranceMissed as error:
                left_out.append(LeftOut(recipe.name, str(error)))
                self.progress.begin(recipe.name)
                self.progress.end(f"left out: {error}")
        if not any(variant.name == ORIGINAL for variant in made):
            raise CompressError("the original itself could not be made; see the lines above")
        return self._insure(Outcome(tuple(made), tuple(left_out)), recipes.gates)

    def _insure(self, outcome: Outcome, limits: Limits) -> Outcome:
        """Return the outcome with each variant compared with the original, without those that the gate refuses."""
        original = next(made for made in outcome.made if made.name == ORIGINAL)
        first: list[Array] = []
        kept: list[Made] = []
        refused: list[LeftOut] = []
        for made in outcome.made:
            if made.name == ORIGINAL:
                kept.append(made)
                continue
            self.progress.begin(f"{made.name}: insurance")
            verdict, kept_before = self._verdict(original, made, limits, first)
            self.progress.end(verdict.words + (", kept from before" if kept_before else ""))
            if verdict.refusals and limits.refuse:
                why = "; ".join(verdict.refusals)
                refused.append(LeftOut(made.name, f"refused by the insurance gate: {why}"))
                self.progress.begin(made.name)
                self.progress.end(f"left out: {why}")
            else:
                kept.append(replace(made, verdict=verdict))
        return Outcome(tuple(kept), (*outcome.left_out, *refused))

    def _verdict(self, original: Made, made: Made, limits: Limits, first: list[Array]) -> tuple[Verdict, bool]:
        """Return the verdict on one variant, and whether it was kept from before. first: the original's answers, once had."""
        data = (original.candidate.onnx_bytes("insurance"), made.candidate.onnx_bytes("insurance"))
        key = key_of(
            self.loaded.digest,
            *(hashlib.sha256(file).hexdigest() for file in data),
            json.dumps(asdict(limits)),
            "gates",
        )
        if (facts := self.work.load_facts(key)) is not None:
            return Verdict(**(facts | {"refusals": tuple(facts["refusals"])})), True
        if not first:
            first.append(answers_of(data[0], self.loaded.workload))
        verdict = judge(first[0], answers_of(data[1], self.loaded.workload), self.loaded.workload, limits)
        self.work.save_facts(key, asdict(verdict))
        return verdict, False

    def _make(self, recipe: Recipe, original: Candidate, key: str) -> Made:
        candidate, key = self._apply(recipe.name, recipe.steps, original, key, original)
        data = candidate.onnx_bytes("measure")
        facts_key = key_of(key, "measures")
        kept = self.work.load_facts(facts_key)
        self.progress.begin(f"{recipe.name}: measure")
        measures = Measures.of_facts(kept) if kept is not None else measure(data, self.loaded.workload)
        if kept is None:
            self.work.save_facts(facts_key, asdict(measures))
        self.progress.end(
            f"{self.loaded.workload.metric_name} {measures.accuracy:.4f}, {measures.bytes / 1000:.0f} kB, "
            f"{measures.wire_bytes / 1000:.0f} kB on the wire" + (", as measured before" if kept is not None else "")
        )
        return Made(recipe.name, candidate, measures, recipe.features, recipe.provider)

    def _apply(
        self, variant: str, steps: Sequence[Step], candidate: Candidate, key: str, original: Candidate | None
    ) -> tuple[Candidate, str]:
        """Return what `steps` make of `candidate`, and the key that it is kept under."""
        keys = []
        for step in steps:
            key = key_of(key, step.name, json.dumps(asdict(step), sort_keys=True, default=str))  # type: ignore[call-overload]
            keys.append(key)
        done = 0
        for place in range(len(keys), 0, -1):  # the furthest result that is there
            if (kept := self.work.load(keys[place - 1])) is not None:
                candidate, done = kept, place
                break
        for place, step in enumerate(steps):
            self.progress.begin(f"{variant}: {step.words}")
            if place < done:
                self.progress.end("kept from before")
                continue
            epochs = self.work.epochs(keys[place])
            context = Context(self.seed, self.progress, original.module if original is not None else None, epochs)
            before = candidate
            candidate = self._step(step, candidate, context, keys[place])
            self.work.save(keys[place], candidate)
            epochs.clear()
            self.progress.end(_result(before, candidate))
        return candidate, key

    def _step(self, step: Step, candidate: Candidate, context: Context, key: str) -> Candidate:
        """Return what `step` makes. A tolerance that was missed is kept too: other variants may begin alike."""
        missed_key = key_of(key, "missed")
        if (missed := self.work.load_facts(missed_key)) is not None:
            raise ToleranceMissed(missed["why"])
        try:
            return step.apply(candidate, self.loaded.workload, context)
        except ToleranceMissed as error:
            self.work.save_facts(missed_key, {"why": str(error)})
            self.work.epochs(key).clear()
            raise


def _result(before: Candidate, after: Candidate) -> str:
    """Return what a step found, in words."""
    found = [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in after.facts.items()
        if before.facts.get(name) != value
    ]
    return ", ".join(found) or "done"
