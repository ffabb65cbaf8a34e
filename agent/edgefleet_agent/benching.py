"""Measuring what serves once more, in a worker of its own: the trial's measurement, while the serving worker goes on."""

import dataclasses
from dataclasses import dataclass, field

from .commanding import Answer
from .seams import Launcher, Probe, Trial, TrialReport, WorkerSpec
from .serve import providers

LOOK_EVERY_S = 0.2
POWER_EVERY_S = 0.5


@dataclass
class _Run:
    spec: WorkerSpec
    trial: Trial
    idle_w: float | None
    busy_w: list[float] = field(default_factory=list)
    read_at: float = 0.0


class Benching:
    """One measurement at a time."""

    def __init__(self, launcher: Launcher, probe: Probe) -> None:
        self._launcher, self._probe = launcher, probe
        self._run: _Run | None = None

    @property
    def model(self) -> str | None:
        """Whose variant is measured now."""
        return self._run.spec.model if self._run is not None else None

    def begin(self, spec: WorkerSpec, now: float) -> str | None:
        """Start to measure the variant of `spec`, which serves; return why not, or None. now: monotonic seconds."""
        if self._run is not None:
            return f"{self._run.spec.model} is being measured already: ask again when that is done"
        free, need = self._probe.memory_available_bytes(), spec.memory_limit_bytes
        if free is not None and need is not None and need > free:
            return f"another worker needs {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free: what serves is not put at risk"
        mine = dataclasses.replace(spec, cpu_limit_s=providers.cpu_limit_s(spec.provider, spec.load_s), tune=None)
        idle_w = self._probe.device_window().power_w
        trial = self._launcher.try_out(mine, providers.wall_limit_s(spec.provider, spec.load_s))
        self._run = _Run(
            mine, trial, idle_w, read_at=now
        )  # a reading of this moment would still be of the board at rest
        return None

    def poll(self, now: float) -> Answer | None:
        """Return what came of it, or None while it runs. now: monotonic seconds."""
        run = self._run
        if run is None:
            return Answer(False, "the measurement was stopped")
        report = run.trial.poll()
        if report is None:
            if now >= run.read_at + POWER_EVERY_S:
                run.read_at = now
                if (watts := self._probe.device_window().power_w) is not None:
                    run.busy_w.append(watts)
            return None
        self._run = None
        return _answer(run, report)

    def stop(self) -> None:
        """End it; nothing is told."""
        if self._run is not None:
            self._run.trial.stop()
            self._run = None


def _answer(run: _Run, report: TrialReport) -> Answer:
    name = f"{run.spec.release} ({run.spec.variant}) on {run.spec.provider}"
    if not report.ok:
        return Answer(False, f"{name} could not be measured: {report.reason}")
    facts = {
        "release": run.spec.release,
        "variant": run.spec.variant,
        "provider": run.spec.provider,
        "latency_p50_s": _number(report.latency_p50_s),
        "latency_p95_s": _number(report.latency_p95_s),
        "load_s": _number(report.load_s),
        "memory_bytes": str(report.memory_bytes) if report.memory_bytes is not None else "",
        "power_idle_w": _number(run.idle_w),
        "power_busy_w": _number(_mean(run.busy_w)),
        "energy_j": _number(_energy_j(run, report)),
    }
    said = [f"p50 {_ms(report.latency_p50_s)}, p95 {_ms(report.latency_p95_s)}"]
    if report.memory_bytes is not None:
        said.append(f"{report.memory_bytes / 1e6:.1f} MB of memory")
    if facts["energy_j"]:
        said.append(
            f"about {float(facts['energy_j']):.3g} J an inference, by the board's own sensor and one core's pace"
        )
    else:
        said.append("no energy: this board measures no power, or too little of it changed")
    return Answer(True, f"{name}: {', '.join(said)}", {key: value for key, value in facts.items() if value})


def _energy_j(run: _Run, report: TrialReport) -> float | None:
    """Power above what the board took before, times the time of one inference. The serving worker's share is in both."""
    busy = _mean(run.busy_w)
    if busy is None or run.idle_w is None or report.latency_p50_s is None or busy <= run.idle_w:
        return None
    return (busy - run.idle_w) * report.latency_p50_s


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1e3:.2f} ms"
