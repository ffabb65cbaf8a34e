"""What a fleet costs the server, and how soon it is there: simulated devices against a real Mosquitto and a real server.

`make bench NAME=fleet` takes 1,000, 3,000 and 10,000 devices; ARGS="--devices 1000" is a short one. The bad model goes to the first size.
Devices and server share the machine, so seconds are an upper bound; see docs/guides/simulation.md for what is real here.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks._report import report
from edgefleet_sim.ending import end_on_sigterm
from edgefleet_sim.files import open_all_files
from edgefleet_sim.fleet import Fleet
from edgefleet_sim.planning import plan_seconds
from edgefleet_sim.run import come_up, in_stage, until_ended
from edgefleet_sim.world import World

PLAN_DEVICES = 100_000
BAD_STAGES = (1.0, 10.0, 100.0)
BACK_PERCENT = 99.0

Part = Callable[[World, Fleet, str, float, dict[str, float]], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--devices",
        nargs="+",
        type=int,
        default=[1000, 3000, 10_000],
        metavar="N",
        help="fleet sizes (default 1000 3000 10000)",
    )
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds that a step may take")
    parser.add_argument("--no-plan", action="store_true", help="without the plan over 100,000 devices")
    arguments = parser.parse_args()
    open_all_files()
    end_on_sigterm()
    figures: dict[str, float] = {}
    for devices in arguments.devices:
        parts = (_proven, _back, _bad_model) if devices == arguments.devices[0] else (_proven, _back)
        measure(devices, parts, arguments.timeout, figures)
    if not arguments.no_plan:
        figures[f"plan_s_{PLAN_DEVICES}"], figures[f"plan_cpu_s_{PLAN_DEVICES}"] = plan_seconds(PLAN_DEVICES, say)
    report("fleet", figures)


def measure(devices: int, parts: Sequence[Part], timeout_s: float, figures: dict[str, float]) -> None:
    """Measure `parts` of one size. What does not come in time is left out, and said."""
    with World() as world:
        world.assign(range(devices))
        first = world.release()
        world.start_broker()
        world.start_server()
        with Fleet(world, devices) as fleet:
            for part in parts:
                try:
                    part(world, fleet, first, timeout_s, figures)
                except TimeoutError as error:
                    say(f"{devices} devices: {error}")
            figures[f"server_pss_mb_{devices}"] = world.server.pss_mb()
            figures[f"broker_cpu_s_{devices}"] = world.broker.cpu_s()
            figures[f"devices_cpu_s_{devices}"] = fleet.count().cpu_s
            figures[f"device_kb_{devices}"] = 1000 * fleet.pss_mb() / devices


def _proven(world: World, fleet: Fleet, first: str, timeout_s: float, figures: dict[str, float]) -> None:
    devices = len(fleet.numbers)
    figures[f"proven_s_{devices}"] = come_up(world, fleet, first, say, timeout_s)
    figures[f"server_cpu_s_{devices}"] = world.server.cpu_s()


def _back(world: World, fleet: Fleet, first: str, timeout_s: float, figures: dict[str, float]) -> None:
    devices = len(fleet.numbers)
    fleet.until("every device is connected", lambda now: now.connected == devices, timeout_s, say)
    fleet.order(do="tear")
    wanted = int(devices * BACK_PERCENT / 100)
    time.sleep(1.0)
    fleet.until(f"{BACK_PERCENT:g} % back", lambda now: len(now.back_s) >= wanted, timeout_s, say)
    figures[f"back_s_{devices}"] = fleet.count().back_s[wanted - 1]


def _bad_model(world: World, fleet: Fleet, first: str, timeout_s: float, figures: dict[str, float]) -> None:
    devices = len(fleet.numbers)
    if f"proven_s_{devices}" not in figures:
        return
    bad = world.release("first-inference")
    world.begin(bad, BAD_STAGES)
    until_ended(world, fleet, bad, say, timeout_s)
    time.sleep(5.0)
    exposed = fleet.count().served.get(bad, 0)
    say(
        f"{exposed} devices ever served the bad model, {len(in_stage(world, fleet, bad, BAD_STAGES[0]))} were in its stage"
    )
    figures["bad_model_exposed_percent"] = 100 * exposed / devices


def say(words: str) -> None:
    print(words[:200], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
