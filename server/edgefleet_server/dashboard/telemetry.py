"""Where the page's charts come from: the roll-ups, in the shapes of the views of telemetry."""

from types import SimpleNamespace
from typing import Any, Protocol

from ..views import Views

Regions = frozenset[str] | None


class Telemetry(Protocol):
    """What a page asks. Answers have the shapes of the API's own: /v1/telemetry/…"""

    def fleet(self, regions: Regions = None, *, last_s: float, model: str | None = None) -> Any:
        """The fleet's models, regions and boards over time."""

    def region(self, region: str, *, last_s: float, model: str | None = None) -> Any:
        """One region's models, variants and boards over time."""

    def compare(
        self, region: str, a: tuple[str, str] | None = None, b: tuple[str, str] | None = None, *, last_s: float
    ) -> Any:
        """Two variants, each (release, variant), in one region; without them the two busiest."""

    def device(self, name: str, regions: Regions = None, *, last_s: float) -> Any:
        """One device over time."""


class FromWindows:
    """Without roll-ups: a device's latency from its own windows, and nothing of groups."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def fleet(self, regions: Regions = None, *, last_s: float, model: str | None = None) -> Any:
        """Nothing."""
        return None

    def region(self, region: str, *, last_s: float, model: str | None = None) -> Any:
        """Nothing."""
        return None

    def compare(
        self, region: str, a: tuple[str, str] | None = None, b: tuple[str, str] | None = None, *, last_s: float
    ) -> Any:
        """Nothing."""
        return None

    def device(self, name: str, regions: Regions = None, *, last_s: float) -> Any:
        """The device's latency and the memory of its workers."""
        found = self._views.latency(name, last_s=last_s, model=None)
        step = last_s / 240
        span = SimpleNamespace(from_s=found["now_s"] - last_s, to_s=found["now_s"], step_s=max(step, 60.0))
        columns = (
            "at_s", "temperature_c", "battery_percent", "cpu_percent", "memory_available_bytes", "power_w",
            "power_source", "throttled",
        )  # fmt: skip
        empty = SimpleNamespace(**{column: [] for column in columns})
        models = [_model(row) for row in found["models"]]
        return SimpleNamespace(span=span, models=models, series=empty, energy=[], marks=[])


def _model(row: dict[str, Any]) -> Any:
    points = row["points"]
    ran = list(dict.fromkeys((point["release"], point["variant"]) for point in points))
    columns = ("at_s", "requests", "errors", "p50_s", "p95_s", "p99_s")
    return SimpleNamespace(
        whole=SimpleNamespace(
            **{name: row[name] for name in ("model", "requests", "errors", "p50_s", "p95_s", "p99_s")}
        ),
        series=SimpleNamespace(**{column: [point[column] for point in points] for column in columns}),
        memory_bytes=[point["memory_bytes"] for point in points],
        run=[ran.index((point["release"], point["variant"])) for point in points],
        runs=[SimpleNamespace(release=release, variant=variant) for release, variant in ran],
    )
