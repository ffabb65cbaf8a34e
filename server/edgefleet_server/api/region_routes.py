"""The routes of /v1/regions: settings in versions, and freezes."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from ..regions.service import RegionEffect, Regions
from ..regions.settings import differences
from ..store.regions import RegionVersion
from .actor import Actor, current_actor
from .asking import Asking
from .bodies import ReasonBody

Who = Annotated[Actor, Depends(current_actor)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Number = Annotated[int, Query(ge=1, le=2**31 - 1)]
"""Of a version: a column of 32 bits, and a PostgreSQL refuses to compare it with more."""


class RegionsBody(BaseModel):
    """Settings of one or more regions: all of what is set there, as [regions.NAME] says it in TOML."""

    model_config = ConfigDict(extra="forbid")

    regions: dict[str, dict[str, Any]] = Field(min_length=1, max_length=1000)
    why: str = Field(default="", max_length=500)
    if_version: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="refused when the newest version is another one; 0: none was applied yet",
    )


def make_region_routes(asking: Asking, regions: Regions) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    def shown(region: str) -> dict[str, Any]:
        settings, version = regions.settings(region)
        return {
            "region": region,
            "version": version.version if version else 0,
            "by": version.actor if version else None,
            "at_s": version.at_s if version else None,
            "why": version.why if version else "",
            "frozen": regions.frozen().get(region),
            "settings": msgspec.to_builtins(settings),
            "windows_kept": msgspec.to_builtins(regions.kept(region, settings)),
        }

    @routes.get("/v1/regions")
    def every(actor: Who, limit: Limit = 100, after: str = "") -> dict[str, Any]:
        mine = asking.somewhere(actor, "region.read")
        names = sorted(name for name in regions.names() if name > after and (mine is None or name in mine))
        return {
            "items": [shown(name) for name in names[:limit]],
            "next": names[limit - 1] if len(names) > limit else None,
        }

    @routes.post("/v1/regions/plan")
    def plan(actor: Who, body: RegionsBody) -> dict[str, Any]:
        for region in body.regions:
            asking.may(actor, "region.read", region)
        return {"regions": [_effect(row) for row in regions.plan(body.regions)]}

    @routes.post("/v1/regions")
    def apply(actor: Who, body: RegionsBody) -> dict[str, Any]:
        for region in body.regions:
            asking.may(actor, "region.apply", region)
        done = regions.apply(body.regions, actor.name, body.why, body.if_version)
        return {"regions": [_effect(row) for row in done]}

    @routes.get("/v1/regions/{region}")
    def one(actor: Who, region: str) -> dict[str, Any]:
        asking.may(actor, "region.read", region)
        return shown(region)

    @routes.get("/v1/regions/{region}/versions")
    def versions(actor: Who, region: str, limit: Limit = 100, after: Number | None = None) -> dict[str, Any]:
        """Newest first; `after` a version are those before it."""
        asking.may(actor, "region.read", region)
        rows = regions.history(region, limit + 1, after)
        return {
            "items": [_version(row) for row in rows[:limit]],
            "next": rows[limit - 1].version if len(rows) > limit else None,
        }

    @routes.get("/v1/regions/{region}/diff")
    def diff(actor: Who, region: str, before: Number | None = None, after: Number | None = None) -> dict[str, Any]:
        """By default the newest version against the one before it."""
        asking.may(actor, "region.read", region)
        _, newest = regions.settings(region)
        if newest is None:
            return {"region": region, "before": 0, "after": 0, "changes": []}
        last = after if after is not None else newest.version
        first = before if before is not None else max(1, last - 1)
        old, new = regions.version(region, first), regions.version(region, last)
        return {
            "region": region,
            "before": first,
            "after": last,
            "changes": [vars(row) for row in differences(old.settings, new.settings)],
        }

    @routes.post("/v1/regions/{region}/freeze")
    def freeze(actor: Who, region: str, body: ReasonBody) -> dict[str, Any]:
        asking.may(actor, "region.freeze", region)
        return {"changed": list(regions.freeze([region], actor.name, body.why))}

    @routes.post("/v1/regions/{region}/unfreeze")
    def unfreeze(actor: Who, region: str, body: ReasonBody) -> dict[str, Any]:
        asking.may(actor, "region.freeze", region)
        return {"changed": list(regions.thaw([region], actor.name, body.why))}

    @routes.post("/v1/freeze")
    def freeze_all(actor: Who, body: ReasonBody) -> dict[str, Any]:
        asking.may(actor, "region.freeze", None)
        return {"changed": list(regions.freeze(regions.names(), actor.name, body.why))}

    @routes.post("/v1/unfreeze")
    def unfreeze_all(actor: Who, body: ReasonBody) -> dict[str, Any]:
        asking.may(actor, "region.freeze", None)
        return {"changed": list(regions.thaw(regions.names(), actor.name, body.why))}

    return routes


def _version(row: RegionVersion) -> dict[str, Any]:
    return {
        "version": row.version,
        "by": row.actor,
        "at_s": row.at_s,
        "why": row.why,
        "settings": msgspec.to_builtins(row.settings),
    }


def _effect(row: RegionEffect) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(row)
    return shown
