"""One run: the fleet comes up, proves a first release, and then the scenario happens. What must be true is checked at the end."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgefleet_protocol.audience import stable_number
from edgefleet_protocol.rollout import Assignment, ReleaseRef
from edgefleet_protocol.trust import release_path

from .fleet import Fleet, spread
from .fleet import words as fleet_words
from .orders import name_of
from .scenarios import Blow, Scenario
from .world import World

BOOTS_PER_S = 250.0
"""Devices that get power in a second: a site after a power cut, and not a whole fleet in one moment."""
FEW = 8
"""Devices that the first stage admits on average: of 8, one in three thousand fleets has none."""
PROBATION_S = 5.0
LIVE_ENDS = ("complete", "gone-back", "paused")

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What came of a run. `checks`: what had to be true, whether it was, and the figures."""

    scenario: str
    devices: int
    checks: list[tuple[str, bool, str]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether all was true."""
        return bool(self.checks) and all(ok for _, ok, _ in self.checks)

    def check(self, what: str, ok: bool, words: str) -> None:
        """Note one."""
        self.checks.append((what, ok, words))

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        rows = [{"what": what, "held": ok, "seen": words} for what, ok, words in self.checks]
        figures = {name: round(value, 3) for name, value in self.figures.items()}
        return {
            "scenario": self.scenario, "devices": self.devices, "held": self.held, "checks": rows, "figures": figures,
        }  # fmt: skip


def run(
    scenario: Scenario, devices: int, say: Say, timeout_s: float = 600.0, probation_s: float = PROBATION_S
) -> Outcome:
    """Run a scenario; return what came of it. Raises what keeps a run from happening at all."""
    outcome = Outcome(scenario.name, devices)
    with World(
        telemetry_s=scenario.telemetry_s,
        offline_after_s=scenario.offline_after_s,
        latency_budget_s=scenario.latency_budget_s,
    ) as world:
        say("signing assignments and the first release")
        world.assign(range(devices))
        first = world.release()
        world.start_broker()
        world.start_server()
        with Fleet(
            world, devices, slow=scenario.slow, slow_percent=scenario.slow_percent, clock_late_s=scenario.clock_late_s
        ) as fleet:
            try:
                _happen(scenario, world, fleet, first, outcome, say, timeout_s, probation_s)
            except TimeoutError as error:
                outcome.check("it came to its end in time", False, str(error))
            _note_cost(world, fleet, outcome)
    return outcome


def come_up(
    world: World, fleet: Fleet, release: str, say: Say, timeout_s: float, probation_s: float = PROBATION_S
) -> float:
    """Give every device power and roll a first release out to all; return the seconds from start to all proven."""
    devices = len(fleet.numbers)
    fleet.order(do="boot", over_s=devices / BOOTS_PER_S)
    fleet.until("every device knows its region", lambda now: now.assigned == devices, timeout_s, say)
    known_by(world, devices, timeout_s)
    began = time.monotonic()
    world.begin(release, (1.0, 10.0, 100.0), probation_s)
    fleet.until(f"{release} everywhere", lambda now: now.proven.get(release, 0) == devices, timeout_s, say)
    return time.monotonic() - began


def known_by(world: World, devices: int, timeout_s: float) -> None:
    """Wait until the server has heard of every device: a plan counts those that it knows."""
    end = time.monotonic() + timeout_s
    while (online := online_by(world)) < devices:
        if time.monotonic() > end:
            raise TimeoutError(f"the server knows {online} of {devices} devices")
        time.sleep(0.5)


def online_by(world: World) -> int:
    """Return how many devices are online as the server knows."""
    lines = world.http.get("/metrics").text.splitlines()
    rows = [row for row in lines if row.startswith("edgefleet_devices{") and 'state="online"' in row]
    return int(sum(float(row.rpartition(" ")[2]) for row in rows))


def _happen(
    scenario: Scenario,
    world: World,
    fleet: Fleet,
    first: str,
    outcome: Outcome,
    say: Say,
    timeout_s: float,
    probation_s: float,
) -> None:
    devices = len(fleet.numbers)
    outcome.figures["first_proven_s"] = come_up(world, fleet, first, say, timeout_s, probation_s)
    say(f"{first} is proven everywhere after {outcome.figures['first_proven_s']:.1f} s")
    second = world.release(scenario.fails)
    before = [blow for blow in scenario.blows if blow.after_s < 0]
    for blow in before:
        say(words_of(blow))
        strike(blow, world, fleet)
    if before:
        time.sleep(max(-blow.after_s for blow in before))
    began = time.monotonic()
    stages = stages_for(scenario.stages, devices)
    world.begin(second, stages, probation_s)
    say(f"{second} goes out")
    threads = [
        threading.Thread(target=_later, args=(blow, world, fleet, outcome, say))
        for blow in scenario.blows
        if blow.after_s >= 0
    ]
    for thread in threads:
        thread.start()
    try:
        ended = until_ended(world, fleet, second, say, timeout_s)
    finally:
        for thread in threads:
            thread.join()
    outcome.figures["ended_s"] = time.monotonic() - began
    outcome.check(
        f"the rollout ends {scenario.end}", ended["status"] == scenario.end, f"{ended['status']}: {ended['why'][:300]}"
    )
    _check_fleet(scenario, world, fleet, first, second, outcome, say, timeout_s)


def until_ended(world: World, fleet: Fleet, release: str, say: Say, timeout_s: float) -> dict[str, Any]:
    """Wait for the end of a rollout; return it as the server shows it. A server that is away has not ended it."""
    end, said = time.monotonic() + timeout_s, 0.0
    row: dict[str, Any] = {"status": "unknown", "why": ""}
    while time.monotonic() < end:
        try:
            row = world.rollout(release)
            if row["status"] in LIVE_ENDS:
                return row
        except Exception as error:
            row = {"status": "unknown", "why": str(error)}
        if time.monotonic() - said > 2:
            said = time.monotonic()
            say(f"{release} {row['status']}: {fleet_words(fleet.count())}")
        time.sleep(0.5)
    raise TimeoutError(f"in {timeout_s:.0f} s {release} did not end: {row['status']}: {row['why'][:500]}")


def _check_fleet(
    scenario: Scenario,
    world: World,
    fleet: Fleet,
    first: str,
    second: str,
    outcome: Outcome,
    say: Say,
    timeout_s: float,
) -> None:
    devices = len(fleet.numbers)
    lost = len(spread(fleet.numbers, scenario.lost_percent)) if scenario.lost_percent else 0
    clones = len(spread(fleet.numbers, scenario.clone_percent)) if scenario.clone_percent else 0
    wanted = second if scenario.end == "complete" else first
    there = (
        devices - lost - 2 * clones
    )  # two boards under one name put each other off the broker: neither is counted on
    fleet.until(f"{wanted} serves", lambda now: now.serving.get(wanted, 0) >= there, timeout_s, say)
    count = fleet.count()
    serving = count.serving.get(wanted, 0)
    outcome.check(f"{wanted} serves on every device that is there", serving >= there, f"{serving} of {there}")
    exposed = count.served.get(second, 0)
    outcome.figures["exposed_percent"] = 100 * exposed / devices
    if scenario.end == "gone-back":
        admitted = len(in_stage(world, fleet, second, stages_for(scenario.stages, devices)[0]))
        most = 0 if scenario.fails == "trial" else admitted
        outcome.check(
            "the bad model never served beyond the first stage",
            exposed <= most, f"{exposed} of {devices} devices ever served it, {admitted} were in the stage",
        )  # fmt: skip
    if lost:
        why = world.rollout(second)["why"]
        outcome.check("those that are lost are counted apart", f"{lost} outstanding" in why, why[:300])
    if clones:
        named = _alarms(world, spread(fleet.numbers, scenario.clone_percent), say)
        outcome.check("every clone is named by the server", named == clones, f"{named} of {clones} in quarantine")


def _alarms(world: World, numbers: tuple[int, ...], say: Say) -> int:
    end = time.monotonic() + 90
    while True:
        named = sum(world.get(f"/v1/devices/{name_of(number)}")["alarm"] is not None for number in numbers)
        if named == len(numbers) or time.monotonic() > end:
            return named
        say(f"{named} of {len(numbers)} clones named")
        time.sleep(2)


def in_stage(world: World, fleet: Fleet, release: str, percent: float) -> list[int]:
    """Return the devices that a stage of so many percent admits."""
    ref = ReleaseRef(path=release_path(release), sha256=world.repository.releases()[release].sha256)
    assignment = Assignment(model=release.partition("/")[0], release=ref)
    return [number for number in fleet.numbers if stable_number(name_of(number), assignment) < percent]


def stages_for(stages: tuple[float, ...], devices: int) -> tuple[float, ...]:
    """Return the stages, each wide enough for a few devices: one of a single device shows little."""
    least = 100 * FEW / devices
    wide = [min(100.0, max(percent, least * (place + 1))) for place, percent in enumerate(stages)]
    return tuple(dict.fromkeys([*wide[:-1], 100.0]))


def strike(blow: Blow, world: World, fleet: Fleet) -> None:
    """Let it happen, and, for broker and server, end."""
    if blow.deed == "kill-broker":
        world.broker.kill()
        time.sleep(blow.down_s or 0.0)
        world.start_broker()
    elif blow.deed == "kill-server":
        world.server.kill()
        time.sleep(blow.down_s or 0.0)
        world.start_server()
    else:
        numbers = spread(fleet.numbers, blow.percent)
        fleet.order(do=blow.deed, numbers=numbers, over_s=1.0, down_s=blow.down_s)


def words_of(blow: Blow) -> str:
    """Return what happens, in words."""
    whom = "" if blow.deed.startswith("kill") else f" {blow.percent:g} % of the devices"
    until = "for good" if blow.down_s is None else f"for {blow.down_s:g} s"
    return f"{blow.deed}{whom} {until}"


def _later(blow: Blow, world: World, fleet: Fleet, outcome: Outcome, say: Say) -> None:
    time.sleep(blow.after_s)
    say(words_of(blow))
    try:
        strike(blow, world, fleet)
    except (
        Exception
    ) as error:  # in a thread nobody hears of it, and the rollout would be blamed for a server that is not back
        outcome.check(f"{words_of(blow)}, and is over", False, str(error))


def _note_cost(world: World, fleet: Fleet, outcome: Outcome) -> None:
    count = fleet.count()
    outcome.figures |= {
        "server_cpu_s": world.server.cpu_s(),
        "server_pss_mb": world.server.pss_mb(),
        "broker_cpu_s": world.broker.cpu_s(),
        "crowds_cpu_s": count.cpu_s,
        "kb_per_device": 1000 * fleet.pss_mb() / max(1, count.devices),
        "looks_asked": count.looks_asked,
        "looks_made": count.looks_made,
    }
