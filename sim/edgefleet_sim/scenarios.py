"""What happens to a fleet, as data: how the second release behaves, what breaks while it goes out, and what must be true at the end."""

from dataclasses import dataclass
from typing import Literal

from .launcher import Fails
from .link import Line

Deed = Literal["kill-broker", "kill-server", "cut", "clone", "tear"]
End = Literal["complete", "gone-back"]


@dataclass(frozen=True)
class Blow:
    """Something breaks, so many seconds after the second release was rolled out; before it where `after_s` is below 0."""

    deed: Deed
    after_s: float
    percent: float = 100.0
    """Of the devices, for what hits devices."""
    down_s: float | None = 2.0
    """How long it is gone; None: for good."""


@dataclass(frozen=True)
class Scenario:
    """One story. The first release is good and proven everywhere before anything happens."""

    name: str
    about: str
    end: End = "complete"
    fails: Fails = ""
    """How the second release's models behave."""
    stages: tuple[float, ...] = (1.0, 10.0, 100.0)
    blows: tuple[Blow, ...] = ()
    slow: Line | None = None
    slow_percent: int = 0
    clock_late_s: float = 0.0
    telemetry_s: float = 60.0
    offline_after_s: float = 120.0
    latency_budget_s: float | None = None

    @property
    def lost_percent(self) -> float:
        """Share of the devices that never come back."""
        return sum(blow.percent for blow in self.blows if blow.deed == "cut" and blow.down_s is None)

    @property
    def clone_percent(self) -> float:
        """Share of the devices of which a second one comes up."""
        return sum(blow.percent for blow in self.blows if blow.deed == "clone")


MOBILE = Line(rate_bytes_per_s=16_000, delay_s=0.3, loss_percent=2.0)
"""128 kbit/s, 300 ms, 2 % of segments lost: what a bad mobile link is."""

SCENARIOS = (
    Scenario("calm", "two releases, one after the other, three stages each"),
    Scenario(
        "broker-kill",
        "the broker dies twice while a release goes out, and comes back without its memory",
        blows=(Blow("kill-broker", 1.0), Blow("kill-broker", 12.0, down_s=4.0)),
    ),
    Scenario(
        "restart-server",
        "the server dies twice while a release goes out",
        blows=(Blow("kill-server", 0.5), Blow("kill-server", 10.0, down_s=4.0)),
    ),
    Scenario(
        "power-cuts",
        "a third of the devices lose power while a release goes out; a third of all boot without the time",
        stages=(10.0, 100.0),
        blows=(Blow("cut", 2.0, 33.0, down_s=3.0), Blow("cut", 10.0, 33.0, down_s=1.0)),
        clock_late_s=4.0,
    ),
    Scenario(
        "clones",
        "the cards of some devices are copied and both boards run; the server names each of them",
        blows=(Blow("clone", -15.0, 2.0),),
    ),
    Scenario(
        "bad-model",
        "a model that passes its trial and fails every real request",
        end="gone-back",
        fails="first-inference",
    ),
    Scenario("bad-trial", "a model with wrong golden answers: it serves nobody", end="gone-back", fails="trial"),
    Scenario(
        "slow-model",
        "a model that is fast in its trial and eight times slower when it serves",
        end="gone-back",
        fails="slow",
        latency_budget_s=0.25,
    ),
    Scenario(
        "slow-links",
        "a third of the devices hang on a bad mobile link",
        stages=(10.0, 100.0),
        slow=MOBILE,
        slow_percent=33,
    ),
    Scenario(
        "lost-devices",
        "some devices are gone for good before the release: it completes and counts them as outstanding",
        stages=(10.0, 100.0),
        blows=(Blow("cut", -25.0, 5.0, down_s=None),),
        telemetry_s=5.0,
        offline_after_s=15.0,
    ),
)


def named(name: str) -> Scenario:
    """Return a scenario; raise KeyError, with the names there are."""
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    raise KeyError(f"there is no scenario {name!r}. There are: {', '.join(row.name for row in SCENARIOS)}")
