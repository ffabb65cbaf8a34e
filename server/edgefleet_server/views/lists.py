"""Lists a page at a time. Each returns one row more than was asked for when there are more."""

from typing import TYPE_CHECKING, Any

import msgspec

from ..alerts.words import alert_view
from ..errors import NotFound
from ..seams import Clock
from ..store import alerts, audit, commands, device_list, events, rollouts
from ..store.database import Database
from ..store.device_list import Filter
from .device import command_view
from .held import Held

if TYPE_CHECKING:
    from . import Views

Regions = frozenset[str] | None
SLOW_S = 0.05


class Lists:
    """Reads pages for the API and the dashboard. `regions`: those that whoever asks may see; None is all."""

    def __init__(self, views: "Views", database: Database, clock: Clock) -> None:
        self._views, self._database, self._clock = views, database, clock
        self._fleets: Held[dict[str, Any]] = Held(SLOW_S)

    def devices(self, wish: Filter, regions: Regions, *, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Devices by id."""
        if wish.region is not None:
            self._views.check_region(wish.region)
        with self._database.read() as connection:
            known = device_list.page(connection, wish, regions, after=after, limit=limit + 1)
        return self._views.shown(known)

    def count(self, wish: Filter, regions: Regions) -> int:
        """How many devices there are of that kind."""
        with self._database.read() as connection:
            return device_list.count(connection, wish, regions)

    def fleet(self, regions: Regions) -> dict[str, Any]:
        """How many devices there are in each region and of each hardware class, and how they stand."""
        return self._fleets.get(regions, lambda: self._fleet(regions))

    def _fleet(self, regions: Regions) -> dict[str, Any]:
        with self._database.read() as connection:
            counts = device_list.by_region(connection, regions)
            classes = device_list.hardware_classes(connection, regions)
        rows = [msgspec.to_builtins(row) for row in counts]
        keys = ("devices", "online", "failing", "quarantined")
        return {
            "total": {key: sum(row[key] for row in rows) for key in keys},
            "regions": rows,
            "hardware": [{"hardware_class": name, "devices": count} for name, count in classes],
        }

    def rollouts(
        self,
        regions: Regions,
        *,
        region: str | None = None,
        model: str | None = None,
        status: str | None = None,
        past: bool = False,
        before: int | None = None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Rollouts, newest first."""
        if region is not None:
            self._views.check_region(region)
        with self._database.read() as connection:
            found = rollouts.page(
                connection, limit=limit + 1, before=before, region=region, regions=regions, model=model, status=status,
                past=past or status == "superseded",
            )  # fmt: skip
        return self._views.weighed(found)

    def current_rollouts(self) -> list[dict[str, Any]]:
        """Where each rollout stands, in a few words: nothing is weighed for it, so it may be asked each second."""
        with self._database.read() as connection:
            records = rollouts.current(connection)
        return [
            {
                "id": row.id,
                "region": row.region,
                "model": row.model,
                "release": row.release,
                "status": row.status,
                "stage": row.stage,
                "stages": [stage.percent for stage in row.assignment.stages],
                "why": row.why,
                "latency_budget_s": row.policy.latency_budget_s,
                "updated_s": row.updated_s,
            }
            for row in records
        ]

    def newest_events(self, limit: int) -> list[tuple[str | None, dict[str, Any]]]:
        """The newest events of the whole fleet, oldest first, each with the region of its device."""
        with self._database.read() as connection:
            rows = events.latest(connection, limit=limit)
            where = device_list.region_of(connection, {row.device for row in rows})
        return [(where.get(row.device), msgspec.to_builtins(row)) for row in reversed(rows)]

    def rollout(self, region: str, number: int) -> dict[str, Any]:
        """One rollout of a region by its number; raise NotFound for none."""
        self._views.check_region(region)
        with self._database.read() as connection:
            record = rollouts.find(connection, number)
        if record is None or record.region != region:
            raise NotFound(f"there is no rollout {number} in {region}. See: edgefleet rollout list --past")
        return self._views.weighed([record])[0]

    def events(
        self,
        regions: Regions,
        *,
        device: str | None = None,
        region: str | None = None,
        kind: str | None = None,
        before: tuple[float, int, str, str] | None = None,
        limit: int,
    ) -> tuple[events.EventRow, ...]:
        """Events, newest first."""
        with self._database.read() as connection:
            return events.latest(
                connection, device=device, region=region, kind=kind, before=before, limit=limit + 1, regions=regions
            )

    def commands(self, device: str, *, before: int | None = None, limit: int) -> list[dict[str, Any]]:
        """Commands to a device, newest first."""
        with self._database.read() as connection:
            rows = commands.latest(connection, device, limit + 1, before)
        return [command_view(row, self._clock.now()) for row in rows]

    def audit(
        self, regions: Regions, *, actor: str | None, action: str | None, before: int | None, limit: int
    ) -> tuple[audit.AuditRow, ...]:
        """Who did what, newest first."""
        with self._database.read() as connection:
            return audit.latest(connection, limit + 1, regions, before=before, actor=actor, action=action)

    def alerts(
        self,
        regions: Regions,
        *,
        past: bool = False,
        region: str | None = None,
        rule: str | None = None,
        severity: str | None = None,
        before: tuple[float, int] | None = None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Alerts, newest first."""
        with self._database.read() as connection:
            rows = alerts.latest(
                connection, past=past, region=region, rule=rule, severity=severity, before=before, limit=limit + 1,
                regions=regions,
            )  # fmt: skip
        return [alert_view(row, self._clock.now()) for row in rows]
