"""What the device tells of itself: its state, from facts and the words of the last steps. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from edgefleet_protocol.codec import encode, sha256_hex
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import (
    MAX_MESSAGE_BYTES,
    MAX_SIGNED_STATE_BYTES,
    DeviceState,
    ModelPhase,
    ModelState,
    Running,
)

from . import __version__, steps
from .live import Live
from .rules.permits import quarantine
from .rules.seen import Desired, Observed, final_failure, governed_variant
from .state_size import fitted
from .store.counters import Counters
from .store.facts import Facts, ModelFacts, Slot, Trust

WORDS_EVERY_S = 5.0
"""Words alone (chunks counted up) are told this often; any other change at once."""
MAX_FAILURES_TOLD = 16
NUMBER_BYTES = 16
"""What `number` may come to."""


@dataclass(frozen=True)
class Own:
    """What makes this start of this device another than every other: see `DeviceState`."""

    machine: str = ""
    certificate: str = ""
    counters: Counters = field(default_factory=Counters)


@dataclass(frozen=True)
class Told:
    """One model: the wish, the last step and the processes, from which its state is derived."""

    want: Desired
    step: steps.Step
    live: Live
    held: str | None = None
    quarantined: str | None = None
    leases: tuple[str, ...] = ()


def said_of(seen: Observed, want: Desired) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Return hold, quarantine and leases in words."""
    quarantined = quarantine(seen.facts, want.policy, seen.now_s, seen.released_s)[0]
    return seen.held, quarantined, tuple(row.words for row in seen.leases)


def phase_of(facts: ModelFacts, told: Told) -> ModelPhase:
    """Return where a model stands. Derived each time, never stored."""
    want, step, live, active = told.want, told.step, told.live, facts.active
    if want.assignment is None:
        return "idle"
    if final_failure(facts, want.sha256) is not None:
        return "failed"
    if active is not None and active.release_sha256 == want.sha256 and _within(facts):
        return "proven"  # what moves is the governor, within a release that is proven here
    if active is not None and active.release_sha256 == want.sha256 and active.proven and not _moving(step, live):
        return "proven"
    if active is not None and active.release_sha256 == want.sha256 and not _moving(step, live):
        return "probation"
    if want.problem is not None:
        return "waiting"
    if isinstance(step, steps.Fetch):
        return "fetching"
    return "trying" if _moving(step, live) else "waiting"


def _within(facts: ModelFacts) -> bool:
    """Return whether the governor, not the region, is why another variant than the chosen one runs or is got ready."""
    active, choice = facts.active, facts.choice
    if active is None or choice is None or not facts.was_proven(active.release_sha256):
        return False
    return choice.release_sha256 == active.release_sha256 and (
        active.variant == choice.variant or (facts.governed is not None and facts.governed.chosen == choice.variant)
    )


def _moving(step: steps.Step, live: Live) -> bool:
    moving = isinstance(step, steps.Fetch | steps.Try | steps.NoteTrial | steps.Load | steps.Activate | steps.Assemble)
    return moving or live.trial is not None or live.candidate is not None


def running(slot: Slot | None, facts: ModelFacts | None = None, provider: str = "") -> Running | None:
    """Return a slot as the state tells it. With facts: a variant of a release that is proven here counts as proven."""
    if slot is None:
        return None
    return Running(
        release=slot.release,
        release_sha256=slot.release_sha256,
        variant=slot.variant,
        variant_sha256=slot.variant_sha256,
        since_s=slot.since_s,
        proven=slot.proven or (facts is not None and facts.was_proven(slot.release_sha256)),
        provider=provider[:128],
    )


def model_state(facts: ModelFacts, told: Told) -> ModelState:
    """Return one model's part of the state."""
    want, choice = told.want, facts.choice
    chosen = choice if choice is not None and choice.release_sha256 == want.sha256 else None
    serving = told.live.server is not None and told.live.server.accepting_since is not None
    wanted = want.release.name if want.release else (want.assignment.release.path if want.assignment else None)
    return ModelState(
        model=want.model,
        phase=phase_of(facts, told),
        why=told.step.why[:2000],
        wanted=wanted,
        wanted_sha256=want.sha256,
        running=running(facts.active, facts, told.live.server.spec.provider) if serving and told.live.server else None,
        previous=running(facts.previous),
        chosen=chosen.variant if chosen else None,
        chosen_why=chosen.why if chosen else "",
        measured=tuple(row.measured for row in facts.trials if row.measured is not None),
        failures=facts.failures[-MAX_FAILURES_TOLD:],
        waits_until_s=told.step.ends_s if isinstance(told.step, steps.Wait) else None,
        pinned=_cut(want.pinned),
        held=_cut(told.held),
        governed=_cut(governed_words(facts, want)),
        quarantined=told.quarantined,
        leases=tuple(row[:200] for row in told.leases[:16]),
    )


def governed_words(facts: ModelFacts, want: Desired) -> str | None:
    """Return what the governor does and why; None while the chosen variant is to serve."""
    variant = governed_variant(facts, want.sha256)
    return f"{variant} instead of {facts.governed.chosen}: {facts.governed.why}" if variant and facts.governed else None


def _cut(words: str | None) -> str | None:
    return words[:2000] if words else None


def device_state(
    *,
    device: str,
    session: int,
    boot: str,
    at_s: float,
    facts: Facts,
    trust: Trust,
    trust_problem: str | None,
    rollout_serial: int,
    hardware: Hardware,
    limits_held: Mapping[str, str],
    models: Mapping[str, Told],
    own: Own | None = None,
) -> DeviceState:
    """Return the whole state, as much of it as fits into one message. Its `number` is given when it is told."""
    own = own or Own()
    state = DeviceState(
        device=device,
        session=session,
        boot=boot,
        at_s=at_s,
        agent_version=__version__,
        region=facts.region,
        tags=facts.tags,
        assignment_number=facts.assignment_number,
        hardware=hardware,
        trust=trust.verified,
        trust_problem=trust_problem[:2000] if trust_problem else None,
        rollout_serial=rollout_serial,
        models=tuple(model_state(facts.model(name), told) for name, told in sorted(models.items())),
        bytes_received=facts.bytes_received,
        limits_held=dict(limits_held),
        certificate=own.certificate,
        machine=own.machine,
        boots=facts.boots,
        starts=own.counters.starts,
        command_epoch=own.counters.epoch,
        command_number=own.counters.number,
    )
    return fitted(state, (MAX_SIGNED_STATE_BYTES if own.certificate else MAX_MESSAGE_BYTES) - NUMBER_BYTES)


def essence(state: DeviceState, with_words: bool) -> str:
    """Return a digest of the state without its time, and without words and counters unless asked."""
    bare = msgspec.structs.replace(state, at_s=0.0)
    if not with_words:
        models = tuple(msgspec.structs.replace(row, why="", waits_until_s=None) for row in bare.models)
        bare = msgspec.structs.replace(bare, models=models, bytes_received=0)
    return sha256_hex(encode(bare))
