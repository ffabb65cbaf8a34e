"""The server's API as a class: one method for each route."""

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from . import telemetry, types
from .errors import BadRequest, NoServer, NotThere
from .types import Page
from .wire import TIMEOUT_S, Query, Wire

T = TypeVar("T")
PAGE = 500


class Api:
    """One server. Methods that return an iterator ask for further pages as they go."""

    def __init__(
        self, url: str, *, token: str | None = None, ca: Path | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        """ca: the authority that the server's certificate is of, where it is none that the system knows.

        Raises BadRequest for an address that is none, and for a token that would go out unencrypted.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise BadRequest(f"{url!r} is no server's address: write it as http://127.0.0.1:8300")
        if token and parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise BadRequest(f"{url} is not encrypted, and whoever is in between could take the token: use https")
        try:
            verify = (
                ssl.create_default_context(cafile=str(ca) if ca else None) if ca or parts.scheme == "https" else None
            )
        except OSError as error:  # ssl.SSLError is one
            raise BadRequest(f"{ca} is no certificate of an authority: {error.strerror or error}") from error
        self._wire = Wire(url, token, verify, timeout_s)

    def __enter__(self) -> "Api":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    # The fleet

    def health(self) -> types.Health:
        """Whether the server can do its work now."""
        return self._one(types.Health, "GET", "/healthz")

    def overview(self) -> types.Overview:
        """The fleet at a glance."""
        return self._one(types.Overview, "GET", "/api/v1/overview")

    def events(
        self, *, device: str | None = None, region: str | None = None, kind: str | None = None
    ) -> Iterator[types.Event]:
        """What happened on devices, newest first."""
        return self._pages(types.Event, "/api/v1/events", {"device": device, "region": region, "kind": kind})

    def releases(self, *, model: str | None = None) -> Iterator[types.Release]:
        """Listed releases, by name."""
        return self._pages(types.Release, "/api/v1/releases", {"model": model})

    def audit(self, *, by: str | None = None, action: str | None = None) -> Iterator[types.Deed]:
        """Who did what, newest first."""
        return self._pages(types.Deed, "/api/v1/audit", {"by": by, "action": action})

    # Devices

    def devices(
        self,
        *,
        region: str | None = None,
        tag: str | None = None,
        hardware: str | None = None,
        status: str | None = None,
        runs: str | None = None,
        text: str | None = None,
    ) -> Iterator[types.Device]:
        """Devices by id. runs: a model, a release, or a release with its variant."""
        wish = {"region": region, "tag": tag, "hardware": hardware, "status": status, "runs": runs, "text": text}
        return self._pages(types.Device, "/api/v1/devices", wish)

    def device(self, device: str) -> types.DeviceDetail:
        """One device with all that it said."""
        return self._one(types.DeviceDetail, "GET", f"/api/v1/devices/{part(device)}")

    def latency(self, device: str, *, last_s: float = 3600.0, model: str | None = None) -> types.Latency:
        """A device's latency over the last seconds."""
        query = {"last_s": last_s, "model": model}
        return self._one(types.Latency, "GET", f"/api/v1/devices/{part(device)}/latency", query)

    def assign(self, device: str, region: str, tags: Sequence[str] = ()) -> types.Assigned:
        """Say where a device belongs."""
        body = {"region": region, "tags": list(tags)}
        return self._one(types.Assigned, "PUT", f"/api/v1/devices/{part(device)}/assignment", body=body)

    def forget(self, device: str, *, force: bool = False) -> types.Forgotten:
        """Remove a device and all that it said. force: also one that was heard of in the last minutes."""
        return self._one(types.Forgotten, "DELETE", f"/api/v1/devices/{part(device)}", {"force": force})

    def clear_alarm(self, device: str, *, why: str = "") -> types.DeviceDetail:
        """Take a device out of quarantine."""
        path = f"/api/v1/devices/{part(device)}/clear-alarm"
        return self._one(types.DeviceDetail, "POST", path, body={"why": why})

    def revoke(self, device: str) -> types.Revoked:
        """Revoke a device's certificates and end its connection."""
        return self._one(types.Revoked, "POST", f"/api/v1/devices/{part(device)}/revoke")

    def send(self, device: str, action: str, life_s: float = 60.0, **arguments: str) -> types.Command:
        """Send a device a command; `command` asks for its answer."""
        body = {"action": action, "arguments": arguments, "life_s": life_s}
        return self._one(types.Command, "POST", f"/api/v1/devices/{part(device)}/commands", body=body)

    def command(self, device: str, number: int) -> types.Command:
        """One command and its answer."""
        return self._one(types.Command, "GET", f"/api/v1/devices/{part(device)}/commands/{number}")

    def commands(self, device: str) -> Iterator[types.Command]:
        """Commands to a device, newest first."""
        return self._pages(types.Command, f"/api/v1/devices/{part(device)}/commands", {})

    # Telemetry

    def fleet_telemetry(self, *, last_s: float = 86400.0, model: str | None = None) -> telemetry.FleetTelemetry:
        """Every model over time, every region, and the boards."""
        query = {"last_s": last_s, "model": model}
        return self._one(telemetry.FleetTelemetry, "GET", "/api/v1/telemetry/fleet", query)

    def region_telemetry(
        self, region: str, *, last_s: float = 86400.0, model: str | None = None
    ) -> telemetry.RegionTelemetry:
        """One region: its models over time, its variants with their drift, and the boards."""
        query = {"last_s": last_s, "model": model}
        return self._one(telemetry.RegionTelemetry, "GET", f"/api/v1/telemetry/regions/{part(region)}", query)

    def release_telemetry(self, release: str, *, last_s: float = 86400.0) -> telemetry.ReleaseTelemetry:
        """One release, as `fashion/3`: its variants over time, and each region with its drift."""
        path = "/".join(part(each) for each in release.split("/"))
        return self._one(telemetry.ReleaseTelemetry, "GET", f"/api/v1/telemetry/releases/{path}", {"last_s": last_s})

    def compare(
        self,
        region: str,
        a: str | None = None,
        b: str | None = None,
        *,
        last_s: float = 86400.0,
        model: str | None = None,
        hardware_class: str | None = None,
    ) -> telemetry.Comparison:
        """Two variants in one region, each as `fashion/3:int8`; without them the two busiest."""
        query = {"a": a, "b": b, "last_s": last_s, "model": model, "hardware_class": hardware_class}
        return self._one(telemetry.Comparison, "GET", f"/api/v1/telemetry/compare/{part(region)}", query)

    def device_telemetry(self, device: str, *, last_s: float = 86400.0) -> telemetry.DeviceTelemetry:
        """One device over time, with the marks of updates."""
        return self._one(
            telemetry.DeviceTelemetry, "GET", f"/api/v1/telemetry/devices/{part(device)}", {"last_s": last_s}
        )

    # Rollouts

    def rollouts(
        self,
        *,
        region: str | None = None,
        model: str | None = None,
        status: str | None = None,
        past: bool = False,
    ) -> Iterator[types.Rollout]:
        """Rollouts, newest first. past: also those whose place another took."""
        query = {"region": region, "model": model, "status": status, "past": past}
        return self._pages(types.Rollout, "/api/v1/rollouts", query)

    def rollouts_of(self, region: str) -> tuple[types.Rollout, ...]:
        """A region's current rollout of each model."""
        return self._one(Page[types.Rollout], "GET", f"/api/v1/rollouts/{part(region)}").items

    def rollout(self, region: str, number: int) -> types.Rollout:
        """One rollout."""
        return self._one(types.Rollout, "GET", f"/api/v1/rollouts/{part(region)}/{number}")

    def plan(self, release: str, regions: Sequence[str] = (), **more: Any) -> types.Plan:
        """What a rollout would do. more: further fields of its order, as `stages`, `gate`, `audience`."""
        return self._one(types.Plan, "POST", "/api/v1/rollouts/plan", body=_order(release, regions, more))

    def start(self, release: str, regions: Sequence[str] = (), **more: Any) -> types.Started:
        """Start a rollout. more: as with `plan`."""
        return self._one(types.Started, "POST", "/api/v1/rollouts", body=_order(release, regions, more))

    def pause(self, region: str, *, model: str | None = None, why: str = "") -> tuple[types.Rollout, ...]:
        """Hold the next stage back."""
        return self._by_hand(region, "pause", model, why)

    def resume(self, region: str, *, model: str | None = None, why: str = "") -> tuple[types.Rollout, ...]:
        """Let a paused rollout go on."""
        return self._by_hand(region, "resume", model, why)

    def go_back(self, region: str, *, model: str | None = None, why: str = "") -> tuple[types.Rollout, ...]:
        """Take the release back."""
        return self._by_hand(region, "go-back", model, why)

    # Alerts

    def alerts(
        self,
        *,
        past: bool = False,
        region: str | None = None,
        rule: str | None = None,
        severity: str | None = None,
    ) -> Iterator[types.Alert]:
        """What needs a person, newest first. past: also what was resolved."""
        query = {"past": past, "region": region, "rule": rule, "severity": severity}
        return self._pages(types.Alert, "/api/v1/alerts", query)

    def alert(self, number: int) -> types.Alert:
        """One alert with all that it is about."""
        return self._one(types.Alert, "GET", f"/api/v1/alerts/{number}")

    def acknowledge(self, number: int, *, why: str = "") -> types.Alert:
        """Say that you have it in hand."""
        return self._one(types.Alert, "POST", f"/api/v1/alerts/{number}/acknowledge", body={"why": why})

    def silence(self, number: int, seconds: float, *, why: str = "") -> types.Alert:
        """Have nobody told of it for a while."""
        path = f"/api/v1/alerts/{number}/silence"
        return self._one(types.Alert, "POST", path, body={"seconds": seconds, "why": why})

    # Live

    def live(
        self, region: str | None = None, *, last_id: str | None = None, seconds: float | None = None
    ) -> Iterator[types.Live]:
        """What changes in the fleet or a region, as it changes, until the stream ends. last_id: go on after this one.

        seconds: then it ends.
        """
        return self._wire.stream("/api/v1/live", {"region": region, "seconds": seconds}, last_id)

    # What has no method

    def raw(self, method: str, path: str, query: Query | None = None, body: Any = None) -> Any:
        """Ask any route; return its answer as plain objects."""
        return self._decoded(self._wire.ask(method, path, query, body), None)

    def _by_hand(self, region: str, hand: str, model: str | None, why: str) -> tuple[types.Rollout, ...]:
        path = f"/api/v1/rollouts/{part(region)}/{hand}"
        return self._one(Page[types.Rollout], "POST", path, {"model": model}, {"why": why}).items

    def _one(self, kind: type[T], method: str, path: str, query: Query | None = None, body: Any = None) -> T:
        found: T = self._decoded(self._wire.ask(method, path, query, body), kind)
        return found

    def _pages(self, kind: type[T], path: str, query: Query) -> Iterator[T]:
        after: str | None = None
        while True:
            page = self._one(Page[kind], "GET", path, {**query, "limit": PAGE, "after": after})  # type: ignore[valid-type]
            yield from page.items
            if (after := page.next) is None:
                return

    def _decoded(self, body: bytes, kind: Any) -> Any:
        try:
            return msgspec.json.decode(body) if kind is None else msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise NoServer(f"{self._wire.url} answers, but not as an EdgeFleet server does: {error}") from error


def _order(release: str, regions: Sequence[str], more: dict[str, Any]) -> dict[str, Any]:
    return {"release": release, "regions": list(regions), **more}


def part(name: str) -> str:
    """Return `name` as one part of an address; raise NotThere for one that would be the address of something else."""
    if not name or "/" in name or name in (".", ".."):
        raise NotThere(
            f"nothing is called {name!r}: a name is 1 to 64 of a-z, 0-9 and -, with a letter or digit at either end"
        )
    return quote(name, safe="")
