"""Parts that are killed in the middle of a rollout: it completes, and what was active serves again."""

from collections.abc import Callable

from edgefleet_client import ClientError
from tests.fakes.fleet import WEST, Fleet, Member
from tests.fakes.load import Load

from .conftest import MakeFleet

SLOWLY = {WEST: {"objective": "accuracy", "telemetry_interval_s": 1.0, "bandwidth_bytes_per_s": 60_000}}
"""A release with this much ballast is on its way for about five seconds, so that there is a middle to kill in."""
BALLAST = 300_000

PAIR = [Member("one", "pi5"), Member("two", "pi4")]


def answers_again(fleet: Fleet, load: Load, release: str | None = None) -> None:
    """Wait until a device answers, with `release` if that is named."""

    def asked() -> bool:
        try:
            said = load.ask()
        except ClientError:
            return False
        return release is None or said == release

    fleet.until("it answers again", asked)


def fetching(fleet: Fleet, name: str) -> bool:
    return bool(fleet.model(name).get("phase") == "fetching")


def running(fleet: Fleet, name: str, release: str) -> bool:
    return bool(fleet.model(name, release.partition("/")[0]).get("release") == release)


def kill_agent(fleet: Fleet) -> None:
    fleet.parts.kill("one")
    fleet.start_agent("one")


def kill_server(fleet: Fleet) -> None:
    fleet.parts.kill("server")
    fleet.start_server()


def test_kills_of_agent_worker_and_server_in_the_middle_of_rollouts(make_fleet: MakeFleet) -> None:
    """One fleet for all of them: the next kill meets what the one before has left."""
    fleet = make_fleet(PAIR, policies=SLOWLY)
    fleet.roll_out(fleet.release(), [WEST])
    for kill, moment in ((kill_agent, "fetching"), (kill_server, "fetching"), (kill_agent, "on probation")):
        release = middle(fleet, moment)
        kill(fleet)
        with fleet.load("one") as one, fleet.load("two") as two:
            answers_again(fleet, one)
            fleet.until_complete(release, [WEST])
            answers_again(fleet, one, release)
            answers_again(fleet, two, release)


def middle(fleet: Fleet, moment: str) -> str:
    """Begin the next release and return it once device `one` is at the moment."""
    release = fleet.release(ballast=BALLAST)
    fleet.begin(release, [WEST], probation_s=4.0)
    reached: Callable[[], bool] = (
        (lambda: fetching(fleet, "one")) if moment == "fetching" else (lambda: running(fleet, "one", release))
    )
    fleet.until(f"{moment}: {release}", reached)
    return release


def test_a_worker_that_is_killed_on_probation_is_started_again_and_the_rollout_completes(fleet: Fleet) -> None:
    first, second = fleet.release("killed"), fleet.release("killed")
    fleet.roll_out(first, [WEST])
    fleet.begin(second, [WEST], probation_s=5.0)
    fleet.until("it is on probation", running, fleet, "five", second)
    assert fleet.kill_workers("five", second) == 1
    with fleet.load("five", "killed") as load:
        answers_again(fleet, load, second)
        fleet.until_complete(second, [WEST])
        answers_again(fleet, load, second)
    assert fleet.told("five", "worker-died", "SIGKILL")


def test_a_release_whose_workers_die_again_and_again_goes_back(fleet: Fleet) -> None:
    first, second = fleet.release("dying"), fleet.release("dying")
    fleet.roll_out(first, [WEST])
    fleet.begin(second, [WEST], probation_s=600.0)
    fleet.until("it is on probation", running, fleet, "five", second)

    def kills() -> bool:
        fleet.kill_workers("five", second)
        return fleet.went_back(WEST, second)

    fleet.until("it goes back", kills)
    with fleet.load("five", "dying") as load:
        answers_again(fleet, load, first)
    fleet.until("it is proven again", fleet.runs, "five", first)
