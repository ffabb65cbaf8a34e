"""The search: many combinations with little training, then the better ones with more (successive halving).

Optuna proposes the points of the first rung by what earlier ones came to (multi-objective TPE). Longer rungs take over what
`promote` keeps: Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016. The
same seed proposes the same points, and finished steps are kept, so a search that was stopped goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import optuna
import torch

from ..candidate import Candidate
from ..errors import CompressError
from ..measure.macs import count_macs
from ..measure.size import wire_bytes
from ..pipeline import Pipeline
from ..recipe import Recipe, arrange_one
from ..runtime import answers, coverage, open_session
from ..steps import Step
from ..steps.swap_activations import SWAPPED
from ..targets import Counted, Target
from ..work import key_of
from ..workload import Workload
from .front import Score, fronts, promote
from .space import FAMILIAR, REWRITES, Point, T, draw, steps_of

KEEP = 3
"""One of so many goes on to the next rung."""
SAMPLES = 2000
"""Validation samples that a combination is judged by."""


@dataclass(frozen=True)
class Plan:
    """How much is tried."""

    target: Target
    trials: int = 27
    epochs: int = 4
    """Of each training in the last rung; the first has about a quarter."""
    max_loss_points: float = 1.0
    """Combinations that lose more on validation are taken further only when nothing better is there, and not into the recipes."""

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs of each training in each rung."""
        return tuple(sorted({max(1, self.epochs // 4), max(1, self.epochs // 2), self.epochs}))


@dataclass(frozen=True)
class Tried:
    """One combination at one rung."""

    point: Point
    epochs: int
    score: Score


@dataclass(frozen=True)
class Failed:
    """A combination that cannot be made of this model, and why."""

    point: Point
    why: str


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    original: Score
    tried: tuple[Tried, ...]
    failed: tuple[Failed, ...]
    best: tuple[Tried, ...]
    """Those of the last rung that none beats and that lose little enough, from few bytes to many."""


Say = Callable[[str], None]


def search(pipeline: Pipeline, original_steps: Sequence[Step], plan: Plan, say: Say = lambda text: None) -> Found:
    """Return what was found. Every candidate's steps are kept in the pipeline's work folder."""
    with pipeline.loaded.neighbours.at_work():
        original, key = pipeline.original(original_steps)
        trials = _Trials(pipeline, original, key, plan)
        whole = trials.score("original", ())
        floor = whole.validation - plan.max_loss_points / 100
        failed: list[Failed] = []
        rows = _first_rung(trials, plan, failed, say)
        every = list(rows)
        for number, epochs in enumerate(plan.rungs[1:]):
            most = max(len(FAMILIAR), -(-len(rows) // KEEP))
            # With little training more is lost than in the end: the shorter the rung, the more is forgiven.
            forgiven = plan.max_loss_points * 2 ** (len(plan.rungs) - 1 - number)
            kept = promote(rows, lambda row: row.score, most, whole.validation - forgiven / 100)
            rows = []
            for row in kept:
                if (again := _one(trials, row.point, epochs, failed, say)) is not None:
                    rows.append(again)
            every += rows
    good = [row for row in rows if row.score.validation >= floor]
    best = fronts(good, lambda row: row.score)[0] if good else []
    return Found(whole, tuple(every), tuple(failed), tuple(sorted(best, key=lambda row: row.score.wire_bytes)))


def _first_rung(trials: "_Trials", plan: Plan, failed: list[Failed], say: Say) -> list[Tried]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        directions=["maximize", "minimize", "minimize"],
        sampler=optuna.samplers.TPESampler(seed=trials.pipeline.seed, n_startup_trials=max(5, plan.trials // 3)),
    )
    rewrites = tuple(rewrite for rewrite in REWRITES if rewrite != "relu6" or trials.has_swappable)
    found: dict[Point, Tried] = {}
    for number in range(max(plan.trials, len(FAMILIAR))):
        trial = study.ask()
        point = FAMILIAR[number] if number < len(FAMILIAR) else draw(_Asked(trial), rewrites)
        if point in found or any(row.point == point for row in failed):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        row = _one(trials, point, plan.rungs[0], failed, say)
        if row is None or number < len(FAMILIAR):
            # What was not asked of the study cannot be told to it.
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, [row.score.validation, row.score.wire_bytes, row.score.latency_s])
        if row is not None:
            found[point] = row
    return list(found.values())


@dataclass(frozen=True)
class _Asked:
    """Asks Optuna, which knows a choice by its place in the list."""

    trial: optuna.trial.Trial

    def __call__(self, name: str, choices: Sequence[T]) -> T:
        """Return the choice."""
        return choices[int(self.trial.suggest_categorical(name, list(range(len(choices)))))]


def _one(trials: "_Trials", point: Point, epochs: int, failed: list[Failed], say: Say) -> Tried | None:
    try:
        score = trials.score(point.name, steps_of(point, epochs))
    except CompressError as error:
        if all(row.point != point for row in failed):
            failed.append(Failed(point, str(error)))
        say(f"{point.name}: cannot be made: {error}")
        return None
    say(
        f"{point.name}, {epochs} epochs: validation {score.validation:.4f}, {score.wire_bytes / 1000:.0f} kB on the wire, "
        f"{1000 * score.latency_s:.2f} ms on {trials.plan.target.name}"
    )
    return Tried(point, epochs, score)


@dataclass(frozen=True)
class _Trials:
    """Makes a candidate and scores it."""

    pipeline: Pipeline
    original: Candidate
    key: str
    plan: Plan

    @property
    def has_swappable(self) -> bool:
        """Whether the model has activations that the int8 kernels have none for."""
        module = self.original.module
        return module is not None and any(isinstance(layer, SWAPPED) for layer in module.modules())

    def score(self, name: str, steps: Sequence[Step]) -> Score:
        """Return the score of the original after `steps`; raise CompressError when they cannot be done."""
        recipe = arrange_one(Recipe(name, tuple(steps)))
        candidate, key = self.pipeline.apply(name, recipe.steps, self.original, self.key)
        key = key_of(key, "search", self.plan.target.name, json.dumps(asdict(self.plan.target), default=str))
        if (facts := self.pipeline.work.load_facts(key)) is not None:
            return Score(**facts)
        score = judge(candidate.onnx_bytes("search"), self.pipeline.loaded.workload, self.plan.target)
        self.pipeline.work.save_facts(key, asdict(score))
        return score


def judge(data: bytes, workload: Workload, target: Target) -> Score:
    """Return the score of a file: validation under Arm's graph rules, bytes on the wire, time predicted for `target`."""
    inputs, targets = workload.validation.inputs[:SAMPLES], workload.validation.targets[:SAMPLES]
    outputs = torch.from_numpy(answers(open_session(data, "arm"), inputs.numpy()))
    macs = count_macs(data)
    counted = Counted(fp32_macs=macs.fp32, int8_macs=macs.int8, arm_nodes=coverage(data, "arm").nodes)
    return Score(workload.score(outputs, targets), wire_bytes(data), target.latency_s(counted))
