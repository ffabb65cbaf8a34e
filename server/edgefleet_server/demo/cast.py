"""Who plays in the demo: four boards in two regions, and what each region asks for."""

from dataclasses import dataclass

from edgefleet_protocol.rollout import Gate, Policy, Probation, Stage

FLEET = "demo"
MODEL = "fashion"

MIN_REQUESTS = 2_000
"""So many real requests must have been answered before the demo may call itself done."""


@dataclass(frozen=True)
class Player:
    """One device. `board` names the files that its hardware probe reads instead of this machine's."""

    id: str
    board: str
    region: str
    tags: tuple[str, ...] = ()


# Which of them a first stage admits is decided by their stable numbers, as anywhere else: it differs from run to run.
DEVICES = (
    Player("porch-zero", "pi-zero-2-w", "eu-west", ("battery",)),
    Player("lab-five", "pi5", "eu-west"),
    Player("shop-four", "pi4", "ap-south"),
    Player("gate-orin", "orin-nano", "ap-south"),
)

LATENCY_BUDGET_S = 0.060
"""Four devices, their load and a server share this machine, so the budget is loose; the slow release needs more."""

POLICIES = {
    "eu-west": Policy(
        objective="accuracy",
        objectives={"pi-zero-2-w": "latency"},
        latency_budget_s=LATENCY_BUDGET_S,
        telemetry_interval_s=2.0,
    ),
    "ap-south": Policy(
        objective="latency",
        objectives={"pi4": "download"},
        latency_budget_s=LATENCY_BUDGET_S,
        bandwidth_bytes_per_s=200_000,
        telemetry_interval_s=2.0,
    ),
}

STAGES = (
    Stage(percent=50.0, gate=Gate(max_failed_percent=0.0)),
    Stage(percent=100.0, gate=Gate(max_failed_percent=0.0)),
)
PROBATION = Probation(seconds=8.0, min_requests=12, max_error_percent=1.0)
"""Short, for a demo. Its requests come at REQUESTS_PER_S, and more slowly when each takes long."""

REQUESTS_PER_S = 8.0
"""For each device."""
