"""The demo's view of the fleet: the server's own API, as any operator has it."""

from typing import Any

import httpx
import msgspec

from edgefleet_protocol.messages import DeviceState

from .cast import MODEL, PROBATION, STAGES, Player
from .outcome import Measured, VariantOutcome


class Fleet:
    """Asks and orders over HTTP; raises httpx.HTTPError where the server does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=30)

    def up(self) -> bool:
        """Whether the server answers and has its broker."""
        try:
            return bool(self._get("/healthz")["broker_connected"])
        except httpx.HTTPError:
            return False

    def releases(self) -> set[str]:
        """Names of the releases that the server knows as listed."""
        return {row["release"] for row in self._get("/v1/releases")["items"]}

    def variants(self, release: str) -> tuple[VariantOutcome, ...]:
        """Return the variants of a listed release."""
        row = next(row for row in self._get("/v1/releases")["items"] if row["release"] == release)
        return tuple(
            VariantOutcome(variant["name"], variant["accuracy"], variant["bytes"], variant["wire_bytes"])
            for variant in row["variants"]
        )

    def assign(self, player: Player) -> None:
        """Give a device its region and tags."""
        answer = self._http.put(
            f"/v1/devices/{player.id}/assignment", json={"region": player.region, "tags": list(player.tags)}
        )
        answer.raise_for_status()

    def state(self, device: str) -> DeviceState | None:
        """Return what the device last said of itself, or None before it did."""
        answer = self._http.get(f"/v1/devices/{device}")
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        document = answer.json()["document"]
        return None if document is None else msgspec.convert(document, DeviceState)

    def measured(self, device: str, last_s: float = 60.0) -> Measured:
        """Return the device's latency over `last_s`, merged from its windows, its worker's memory and its battery."""
        shown = self._get(f"/v1/devices/{device}")
        curve = self._get(f"/v1/devices/{device}/latency?last_s={last_s:g}&model={MODEL}")
        model = next((row for row in curve["models"] if row["model"] == MODEL), None)
        memory = next((row["memory_bytes"] for row in shown["models"] if row["model"] == MODEL), None)
        return Measured(
            latency_p50_s=model["p50_s"] if model else None,
            latency_p95_s=model["p95_s"] if model else None,
            memory_bytes=memory,
            battery=shown["battery_percent"],
        )

    def plan(self, release: str) -> list[dict[str, Any]]:
        """Return the plan of each region."""
        answer = self._http.post("/v1/rollouts/plan", json=self._order(release))
        answer.raise_for_status()
        return list(answer.json()["regions"])

    def start(self, release: str) -> None:
        """Begin the rollout of a release in every region."""
        answer = self._http.post("/v1/rollouts", json=self._order(release))
        answer.raise_for_status()

    def rollouts(self) -> list[dict[str, Any]]:
        """Return the current rollout of each region."""
        return list(self._get("/v1/rollouts")["items"])

    def events(self) -> list[dict[str, Any]]:
        """Return recent events, oldest first."""
        return list(reversed(self._get("/v1/events?limit=500")["items"]))

    def _order(self, release: str) -> dict[str, Any]:
        return {
            "release": release,
            "stages": [stage.percent for stage in STAGES],
            "gate": {"max_failed_percent": STAGES[0].gate.max_failed_percent},
            "probation": msgspec.to_builtins(PROBATION),
        }

    def _get(self, path: str) -> Any:
        answer = self._http.get(path)
        answer.raise_for_status()
        return answer.json()
