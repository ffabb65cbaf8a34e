"""The governor: under heat, throttling, a low battery or short memory, a cheaper signed variant of the same release.

`watch` turns readings into how long something presses, or is over by its margin; `govern` says the one move, if any. Both
are pure. No two moves are nearer to each other than the dwell, so a series of readings, however wild, makes at most
one move per dwell; every step lands on a variant that fits, has not failed here and keeps the floors of accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgefleet_protocol.choose import estimate, why_not
from edgefleet_protocol.rollout import Governor

from ..conditions import Surroundings
from ..hands.measured import measured_p50
from ..slots import slot_name
from ..steps import Govern, Step
from .seen import Desired, Observed, Strain, final_failure, governed_variant, to_serve

MIN_DWELL_S = 10.0
"""Whatever a policy says."""


@dataclass(frozen=True)
class Rung:
    """A variant that fits, and what it costs here."""

    name: str
    accuracy: float
    latency_s: float | None
    memory_bytes: int
    wire_bytes: int


@dataclass(frozen=True)
class Standing:
    """Where a release stands on this device."""

    chosen: str
    below: tuple[str, ...]
    """The variants stepped down to, one after the other, each once; empty while the chosen one serves."""
    rungs: tuple[Rung, ...]
    strain: Strain
    moved_at: float
    """Monotonic seconds of the last move."""

    @property
    def current(self) -> str:
        """The variant that serves."""
        return self.below[-1] if self.below else self.chosen


@dataclass(frozen=True)
class Move:
    """Another variant, with its reason. `below`: see Standing."""

    below: tuple[str, ...]
    why: str


def govern(facts: Standing, policy: Governor, now: float) -> Move | None:
    """Return the governor's one move, or None."""
    if now - facts.moved_at < max(policy.dwell_s, MIN_DWELL_S):
        return None
    strain = facts.strain
    if strain.why is not None and now - strain.since >= policy.after_s:
        target = step_down(facts.rungs, facts.current, memory=strain.memory)
        if target is None:
            return None
        return Move(_down(facts, target.name), f"{strain.why}: from {facts.current} down to {target.name}")
    if facts.below and strain.calm_since is not None and now - strain.calm_since >= policy.climb_after_s:
        names = {rung.name for rung in facts.rungs}
        rest = facts.below[:-1]
        while rest and rest[-1] not in names:
            rest = rest[:-1]
        up = rest[-1] if rest else facts.chosen
        return Move(rest, f"nothing has pressed for {policy.climb_after_s:g} s: from {facts.current} back up to {up}")
    return None


def _down(facts: Standing, target: str) -> tuple[str, ...]:
    """Return the way down to `target`. Each variant is on it once: where heat and short memory take turns, two variants may each cost
    less than the other, and the way back up must not grow by one with each turn."""
    way = (facts.chosen, *facts.below)
    return way[1 : way.index(target) + 1] if target in way else (*facts.below, target)


def step_down(rungs: Sequence[Rung], current: str, *, memory: bool) -> Rung | None:
    """Return the most accurate variant that costs less than `current`: memory where that is short, else time."""
    mine = next((rung for rung in rungs if rung.name == current), None)
    if mine is None:
        return None
    cheaper = [rung for rung in rungs if rung.name != current and _costs_less(rung, mine, memory=memory)]
    return max(cheaper, key=lambda rung: (rung.accuracy, -rung.memory_bytes, rung.name), default=None)


def _costs_less(one: Rung, other: Rung, *, memory: bool) -> bool:
    """Time stands for heat and energy: on one device, power is nearly constant under load."""
    if not memory and one.latency_s is not None and other.latency_s is not None:
        return one.latency_s < other.latency_s
    if one.memory_bytes and other.memory_bytes and one.memory_bytes != other.memory_bytes:
        return one.memory_bytes < other.memory_bytes
    return one.wire_bytes < other.wire_bytes


def watch(before: Strain, around: Surroundings, policy: Governor | None, now: float) -> Strain:
    """Return what presses after one more reading. What a device cannot read is no reason, and is over."""
    if policy is None:
        return Strain()
    found = _presses(around, policy)
    if found is None:
        calm = now if before.calm_since is None else before.calm_since
        return Strain(calm_since=calm if _is_over(around, policy) else None)
    why, memory = found
    return Strain(why, memory, before.since if before.why is not None else now)


def _presses(around: Surroundings, policy: Governor) -> tuple[str, bool] | None:
    device = around.device
    heat, floor = policy.max_temperature_c, policy.battery_floor_percent
    if heat is not None and device.temperature_c is not None and device.temperature_c > heat:
        return f"it is hotter than {heat:g} °C", False
    if policy.throttled and device.throttled:
        return f"the clock is held back ({', '.join(device.throttled)})", False
    if floor is not None and _on_battery(around) and (device.battery_percent or 0.0) < floor:
        return f"the battery is below {floor:g} %", False
    least, most = policy.min_memory_available_bytes, policy.max_memory_pressure_percent
    if least is not None and around.memory_available_bytes is not None and around.memory_available_bytes < least:
        return f"less than {least / 1e6:.0f} MB of memory are free", True
    if most is not None and around.memory_pressure_percent is not None and around.memory_pressure_percent > most:
        return f"tasks wait for memory more than {most:g} % of the time", True
    return None


def _is_over(around: Surroundings, policy: Governor) -> bool:
    """Nothing presses; whether everything is over by its margin, too."""
    device = around.device
    heat, floor = policy.max_temperature_c, policy.battery_floor_percent
    if (
        heat is not None
        and device.temperature_c is not None
        and device.temperature_c > heat - policy.temperature_margin_c
    ):
        return False
    enough = min(100.0, (floor or 0.0) + policy.battery_margin_percent)
    if floor is not None and _on_battery(around) and (device.battery_percent or 0.0) < enough:
        return False
    least, most = policy.min_memory_available_bytes, policy.max_memory_pressure_percent
    free, waits = around.memory_available_bytes, around.memory_pressure_percent
    if least is not None and free is not None and free < least + policy.memory_margin_bytes:
        return False
    return most is None or waits is None or waits <= most / 2


def _on_battery(around: Surroundings) -> bool:
    return around.device.battery_percent is not None and not around.device.battery_charging


# --- as rules of `decide`


def step_governor(seen: Observed, want: Desired, now: float) -> Step | None:
    """Asked once the variant that is to serve does, and the release is proven: before that, probation watches it."""
    facts, governor, sha256 = seen.facts, want.policy.governor, want.sha256
    if sha256 is None or want.release is None or facts.choice is None or facts.choice.variant is None:
        return None
    chosen, below = facts.choice.variant, _below(seen, want)
    if governor is None:
        left = "the region has no governor any more" if below else None
        return Govern(sha256, chosen, (), left) if left else None
    arrived = facts.active is not None and facts.active.slot == slot_name(sha256, to_serve(facts, sha256) or "")
    if facts.active is None or not facts.was_proven(sha256) or seen.candidate is not None:
        return None
    if not arrived and not below:
        return None  # a move of the region's is under way
    standing = Standing(chosen, below, rungs(seen, want, governor), seen.strain, seen.governed_at)
    move = govern(standing, governor, now)
    if move is None or (not arrived and len(move.below) > len(below)):
        return None  # not yet where the last step led: no further down before that, but back
    return Govern(sha256, chosen, move.below, move.why)


def _below(seen: Observed, want: Desired) -> tuple[str, ...]:
    governed = seen.facts.governed
    return governed.below if governed is not None and governed_variant(seen.facts, want.sha256) is not None else ()


def rungs(seen: Observed, want: Desired, governor: Governor) -> tuple[Rung, ...]:
    """Return the variants that may serve here now: all hard constraints hold, nothing failed, and the floors are kept."""
    assert want.release is not None
    latencies = estimate(want.release, seen.hardware, measured_p50(seen.facts, want.release.name))
    serves = to_serve(seen.facts, want.sha256)
    found = []
    for variant in want.release.variants:
        failed = seen.failed.get(variant.name)
        if why_not(want.release, variant, seen.hardware, want.policy, latencies[variant.name], failed) is not None:
            continue
        if (
            governor.min_accuracy is not None
            and variant.accuracy.value < governor.min_accuracy
            and variant.name != serves
        ):
            continue
        found.append(
            Rung(
                variant.name,
                variant.accuracy.value,
                latencies[variant.name].p50_s,
                variant.requires.memory_bytes,
                want.release.wire_bytes(variant),
            )
        )
    return tuple(found)


def spare(seen: Observed, want: Desired) -> str | None:
    """Return the variant to fetch and try ahead: the first that the governor would step down to; None when that is done."""
    facts, governor, active = seen.facts, want.policy.governor, seen.facts.active
    if governor is None or not governor.prefetch or want.release is None or active is None or want.sha256 is None:
        return None
    name = to_serve(facts, want.sha256)
    if not active.proven or name is None or active.slot != slot_name(want.sha256, name):
        return None
    if final_failure(facts, want.sha256) is not None or seen.held is not None:
        return None
    short_of_memory = governor.max_temperature_c is None and governor.battery_floor_percent is None
    below = step_down(rungs(seen, want, governor), name, memory=short_of_memory and not governor.throttled)
    if below is None:
        return None
    tried = facts.trial(slot_name(want.sha256, below.name))
    is_here = slot_name(want.sha256, below.name) in seen.slots
    return None if tried is not None and tried.passed and is_here else below.name
