"""Telemetry as the page asks for it, made of a sine: a day in steps of five minutes, with everything that a board can measure."""

import math
from types import SimpleNamespace
from typing import Any

STEP_S = 300
STEPS = 288


class MeasuredDay:
    """Answers of the shapes of /v1/telemetry/… for one model, in a fleet with some regions."""

    def __init__(self, now: float, regions: tuple[str, ...], devices: tuple[str, ...]) -> None:
        self._to = int(now // STEP_S) * STEP_S
        self._regions, self._devices = regions, devices
        self.at_s = [self._to - (STEPS - place) * STEP_S for place in range(STEPS)]

    def fleet(self, regions: frozenset[str] | None = None, *, last_s: float, model: str | None = None) -> Any:
        """The fleet."""
        seen = [region for region in self._regions if regions is None or region in regions]
        return SimpleNamespace(
            span=self._span(),
            models=[SimpleNamespace(whole=_group(), series=self._series())],
            regions=[_group(region=region) for region in seen],
            boards=_boards(),
            board_series=self._board_series(),
        )

    def region(self, region: str, *, last_s: float, model: str | None = None) -> Any:
        """One region with two variants, of which one drifts."""
        calm = SimpleNamespace(psi=0.012, limit=0.1, n=50_000, reference_n=40_000, alarm=False)
        drifts = SimpleNamespace(psi=0.312, limit=0.1, n=50_000, reference_n=40_000, alarm=True)
        return SimpleNamespace(
            span=self._span(),
            models=[SimpleNamespace(whole=_group(), series=self._series())],
            variants=[
                _group(region, "fashion/2", "int8", calm),
                _group(region, "fashion/1", "fp32", drifts),
            ],
            boards=_boards(),
            board_series=self._board_series(),
        )

    def compare(
        self, region: str, a: tuple[str, str] | None = None, b: tuple[str, str] | None = None, *, last_s: float
    ) -> Any:
        """Two variants, of which the second is the slower one."""
        sides = []
        for release, variant in (a or ("fashion/2", "int8"), b or ("fashion/1", "fp32")):
            classes = [_group(region), _group(region)]
            whole = _group(region, release, variant)
            sides.append(SimpleNamespace(whole=whole, series=self._series(), classes=classes))
        between = SimpleNamespace(psi=0.21, limit=0.1, n=50_000, reference_n=40_000, alarm=True)
        return SimpleNamespace(
            region=region, span=self._span(), a=sides[0], b=sides[1], between=between, p95_ratio=1.62
        )

    def device(self, name: str, regions: frozenset[str] | None = None, *, last_s: float) -> Any:
        """One device, which changed its variant in the middle of the day."""
        half = STEPS // 2
        battery = name == self._devices[0]
        model = SimpleNamespace(
            whole=_group(),
            series=self._series(),
            memory_bytes=[int(58e6 if place < half else 41e6) for place in range(STEPS)],
            run=[int(place >= half) for place in range(STEPS)],
            runs=[
                SimpleNamespace(release="fashion/1", variant="fp32"),
                SimpleNamespace(release="fashion/2", variant="int8"),
            ],
        )
        own = SimpleNamespace(
            at_s=self.at_s,
            temperature_c=[52 + 9 * _wave(place) for place in range(STEPS)],
            battery_percent=[(70 + 20 * _wave(place)) if battery else None for place in range(STEPS)],
            cpu_percent=[31 + 12 * _wave(place, 7) for place in range(STEPS)],
            memory_available_bytes=[int(1.2e9 - 2e8 * _wave(place)) for place in range(STEPS)],
            power_w=[3.4 + 0.8 * _wave(place) for place in range(STEPS)],
            power_source=["ina3221"] * STEPS,
            throttled=[["soft-limit"] if 60 < place < 75 else [] for place in range(STEPS)],
        )
        mark = SimpleNamespace(
            at_s=float(self.at_s[half]), kind="activated", text="", model="fashion", release="fashion/2", variant="int8"
        )
        return SimpleNamespace(span=self._span(), models=[model], series=own, energy=_energy(), marks=[mark])

    def _span(self) -> Any:
        return SimpleNamespace(now_s=self._to, from_s=self.at_s[0], to_s=self._to, step_s=STEP_S)

    def _series(self) -> Any:
        half, there = STEPS // 2, range(STEPS)
        base = [0.021 if place < half else 0.0125 for place in there]
        gone = {place for place in there if 200 <= place < 206}  # nothing came
        p50 = [None if place in gone else base[place] * (1 + 0.05 * _wave(place, 5)) for place in there]
        return SimpleNamespace(
            at_s=self.at_s,
            requests=[0 if place in gone else int(900 + 400 * _wave(place)) for place in there],
            errors=[0] * STEPS,
            p50_s=p50,
            p95_s=[None if value is None else value * 1.5 for value in p50],
            p99_s=[None if value is None else value * 2.1 for value in p50],
        )

    def _board_series(self) -> Any:
        there = range(STEPS)
        return SimpleNamespace(
            at_s=self.at_s,
            temperature_mean_c=[48 + 6 * _wave(place) for place in there],
            temperature_max_c=[63 + 8 * _wave(place) for place in there],
            battery_mean_percent=[72 + 15 * _wave(place) for place in there],
            battery_least_percent=[41 + 15 * _wave(place) for place in there],
            throttled_share=[max(0.0, 0.04 * _wave(place)) for place in there],
        )


def _wave(place: int, times: float = 1.0) -> float:
    return math.sin(2 * math.pi * times * place / STEPS - 1.2)


def _group(region: str = "", release: str = "", variant: str = "", drift: Any = None) -> Any:
    return SimpleNamespace(
        model="fashion", region=region, release=release, variant=variant, hardware_class="", devices=12, windows=3_400,
        requests=251_300, errors=17, p50_s=0.0131, p95_s=0.0226, p99_s=0.0417, memory_mean_bytes=42.1e6,
        memory_max_bytes=58_000_000, drift=drift,
    )  # fmt: skip


def _measure(mean: float, least: float, most: float) -> Any:
    return SimpleNamespace(mean=mean, least=least, most=most, windows=3_400)


def _energy() -> list[Any]:
    return [
        SimpleNamespace(source="ina3221", joules=291_000.0, seconds=86_400.0, requests=251_300, watts=3.37, joules_per_request=1.158),
        SimpleNamespace(source="rpi-pmic", joules=240_100.0, seconds=86_400.0, requests=0, watts=2.78, joules_per_request=None),
    ]  # fmt: skip


def _boards() -> Any:
    return SimpleNamespace(
        devices=24,
        windows=6_800,
        temperature_c=_measure(51.2, 38.0, 74.5),
        cpu_percent=_measure(29.0, 4.0, 88.0),
        battery_percent=_measure(72.0, 31.0, 100.0),
        power_w=_measure(3.4, 2.1, 5.9),
        memory_available_bytes=_measure(1.1e9, 2.1e8, 2.9e9),
        storage_free_bytes=_measure(9.4e9, 1.1e9, 2.2e10),
        agent_memory_bytes=_measure(3.6e7, 3.5e7, 3.8e7),
        throttled_share=0.013,
        throttled_reasons={"soft-limit": 0.013},
        energy=_energy(),
    )
