"""What came out: one object for people's tables and for `--json`."""

from dataclasses import asdict, dataclass
from typing import Any

from edgefleet_protocol.messages import DeviceState

from .cast import MODEL, Player


@dataclass(frozen=True)
class DeviceOutcome:
    """One device at the end. Latency and memory are what its telemetry said; what it lacks is None."""

    id: str
    region: str
    hardware: str
    release: str | None
    variant: str | None
    why: str
    state: str
    bytes_received: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    memory_bytes: int | None
    battery: float | None


@dataclass(frozen=True)
class VariantOutcome:
    """One variant of the release that the fleet runs at the end."""

    name: str
    accuracy: float
    bytes: int
    wire_bytes: int


@dataclass(frozen=True)
class RolledBack:
    """A release that failed on a device, where, and why."""

    device: str
    release: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Requests:
    """`failed`: refused, timed out, or with a wrong answer."""

    sent: int
    failed: int


@dataclass(frozen=True)
class Measured:
    """From a device's telemetry, over the last minute or so."""

    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    memory_bytes: int | None = None
    battery: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The demo's one JSON object."""

    devices: tuple[DeviceOutcome, ...]
    variants: tuple[VariantOutcome, ...]
    original_accuracy: float
    requests: Requests
    rolled_back: tuple[RolledBack, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain objects."""
        return asdict(self)


def device_outcome(player: Player, state: DeviceState | None, measured: Measured) -> DeviceOutcome:
    """Return what became of a device, from its last state and its telemetry."""
    model = next((row for row in state.models if row.model == MODEL), None) if state else None
    running = model.running if model else None
    return DeviceOutcome(
        id=player.id,
        region=(state.region if state and state.region else player.region),
        hardware=(state.hardware.hardware_class if state and state.hardware else "unknown"),
        release=running.release if running else None,
        variant=running.variant if running else None,
        why=model.chosen_why if model else "no state came",
        state=("proven" if running and running.proven else model.phase if model else "unknown"),
        bytes_received=state.bytes_received if state else 0,
        latency_p50_s=measured.latency_p50_s,
        latency_p95_s=measured.latency_p95_s,
        memory_bytes=measured.memory_bytes,
        battery=measured.battery,
    )


def rolled_back(states: dict[str, DeviceState]) -> tuple[RolledBack, ...]:
    """Return each release that failed on a device, once, with the last reason that the device gave."""
    found: dict[tuple[str, str], RolledBack] = {}
    for device, state in states.items():
        for model in state.models:
            for failure in model.failures:
                found[device, failure.release] = RolledBack(device, failure.release, failure.stage, failure.reason)
    return tuple(found[key] for key in sorted(found))


def table(outcome: Outcome) -> str:
    """Return the outcome as text for a person."""
    lines = [
        f"{'device':<12}{'region':<10}{'hardware':<14}{'runs':<28}{'state':<11}{'p50':>8}{'p95':>9}{'memory':>9}  battery"
    ]
    for row in outcome.devices:
        p50 = "-" if row.latency_p50_s is None else f"{row.latency_p50_s * 1e3:.1f} ms"
        p95 = "-" if row.latency_p95_s is None else f"{row.latency_p95_s * 1e3:.1f} ms"
        memory = "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.0f} MB"
        battery = "mains" if row.battery is None else f"{row.battery:.0f} %"
        name = f"{row.release} {row.variant}" if row.release else "-"
        lines.append(
            f"{row.id:<12}{row.region:<10}{row.hardware:<14}{name:<28}{row.state:<11}{p50:>8}{p95:>9}{memory:>9}  {battery}"
        )
    lines += ["", f"{'variant':<22}{'accuracy':>9}{'bytes':>10}{'on the wire':>12}"]
    for variant in outcome.variants:
        lines.append(f"{variant.name:<22}{variant.accuracy:>9.4f}{variant.bytes:>10}{variant.wire_bytes:>12}")
    lines += ["", f"requests: {outcome.requests.sent} sent, {outcome.requests.failed} failed"]
    for back in outcome.rolled_back:
        lines.append(f"{back.device} went back from {back.release} in {back.stage}: {back.reason}")
    return "\n".join(lines)
