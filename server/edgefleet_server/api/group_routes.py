"""The routes of groups, and of what is done to many devices at once: move, tag, freeze; and of one that leaves for good."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from edgefleet_protocol.names import check_label

from ..errors import BadRequest, NotFound, Refused
from ..groups.query import Query as GroupQuery
from ..groups.query import as_audience, parse
from ..groups.select import members, query_of
from ..regions.assigning import Assigned, Assigner
from ..regions.gone import Decommissioner
from ..store import audit, decommissioned, devices, groups
from ..store.decommissioned import Gone, Kept
from ..store.groups import GroupRow
from .actor import Actor, current_actor
from .asking import Asking
from .bodies import ReasonBody
from .choosing import ChosenBody, chosen

Who = Annotated[Actor, Depends(current_actor)]
Limit = Annotated[int, Query(ge=1, le=10_000)]
Tag = Annotated[str, Field(max_length=64)]


class GroupBody(BaseModel):
    """What finds its devices."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(max_length=1000, examples=["region=eu-west tag=door"])


class MoveBody(ChosenBody):
    """Where devices should belong from now on."""

    region: str = Field(max_length=64)
    why: str = Field(default="", max_length=500)


class TagsBody(ChosenBody):
    """Which tags they get and lose."""

    add: list[Tag] = Field(default=[], max_length=32)
    remove: list[Tag] = Field(default=[], max_length=32)
    why: str = Field(default="", max_length=500)


class FreezeBody(ChosenBody):
    """Why they are frozen, or no longer."""

    why: str = Field(default="", max_length=200)


class DecommissionBody(BaseModel):
    """What becomes of what the device said."""

    model_config = ConfigDict(extra="forbid")

    kept: Kept = "archive"
    why: str = Field(default="", max_length=500)


def make_group_routes(asking: Asking, assigner: Assigner, gone: Decommissioner) -> APIRouter:
    """Return the routes."""
    routes, database = APIRouter(), asking.database

    def meant(query: GroupQuery) -> dict[str, Any]:
        """What a rollout makes of it: an audience that devices judge for themselves, or None where it needs their list."""
        audience, regions = as_audience(query), query.regions()
        return {
            "query": str(query),
            "audience": None if audience is None else {"tags": list(audience[0]), "hardware": list(audience[1])},
            "regions": None if regions is None else sorted(regions),
        }

    def group_view(row: GroupRow) -> dict[str, Any]:
        return {"group": row.name, "by": row.actor, "at_s": row.at_s, **meant(parse(row.query))}

    def found(text: str, mine: frozenset[str] | None, limit: int, after: str) -> dict[str, Any]:
        with database.read() as connection:
            query = query_of(connection, text)
            names = sorted(row.id for row in members(connection, query, mine))
        rest = [name for name in names if name > after]
        return {
            **meant(query),
            "matched": len(names),
            "items": rest[:limit],
            "next": rest[limit - 1] if len(rest) > limit else None,
        }

    @routes.get("/v1/groups")
    def every(actor: Who, limit: Limit = 100, after: str = "") -> dict[str, Any]:
        asking.somewhere(actor, "group.read")
        with database.read() as connection:
            rows = groups.after(connection, after, limit + 1)
        return {
            "items": [group_view(row) for row in rows[:limit]],
            "next": rows[limit - 1].name if len(rows) > limit else None,
        }

    @routes.get("/v1/select")
    def select(actor: Who, query: str = "id=*", limit: Limit = 100, after: str = "") -> dict[str, Any]:
        """Ids of the devices that a query or a group means, as far as one may see them."""
        return found(query, asking.somewhere(actor, "group.read"), limit, after)

    @routes.put("/v1/groups/{group}")
    def save(actor: Who, group: str, body: GroupBody) -> dict[str, Any]:
        asking.may(actor, "group.write", None)
        now = asking.clock.now()
        row = GroupRow(check_label("group", group), str(parse(body.query)), actor.name, now)
        with database.write() as connection:
            groups.put(connection, row)
            audit.add(connection, audit.AuditRow(now, actor.name, "group.write", None, group, row.query))
        return group_view(row)

    @routes.delete("/v1/groups/{group}")
    def drop(actor: Who, group: str) -> dict[str, Any]:
        asking.may(actor, "group.write", None)
        with database.write() as connection:
            if not groups.drop(connection, group):
                raise NotFound(f"there is no group {group}. See: edgefleet group list")
            deed = audit.AuditRow(asking.clock.now(), actor.name, "group.write", None, group, "removed")
            audit.add(connection, deed)
        return {"group": group}

    @routes.post("/v1/devices/move")
    def move(actor: Who, body: MoveBody) -> dict[str, Any]:
        rows = chosen(asking, actor, "device.assign", body)
        asking.may(actor, "device.assign", body.region)
        return _assigned(assigner.move([row.id for row in rows], body.region, actor.name, body.why))

    @routes.post("/v1/devices/tags")
    def tags(actor: Who, body: TagsBody) -> dict[str, Any]:
        rows = chosen(asking, actor, "device.assign", body)
        if not body.add and not body.remove:
            raise BadRequest("there is no tag to add or to remove: add = ['door'], or remove = ['lab']")
        return _assigned(assigner.retag([row.id for row in rows], body.add, body.remove, actor.name, body.why))

    @routes.post("/v1/devices/freeze")
    def freeze(actor: Who, body: FreezeBody) -> dict[str, Any]:
        rows = chosen(asking, actor, "device.freeze", body)
        return _assigned(assigner.freeze([row.id for row in rows], actor.name, body.why))

    @routes.post("/v1/devices/unfreeze")
    def unfreeze(actor: Who, body: FreezeBody) -> dict[str, Any]:
        rows = chosen(asking, actor, "device.freeze", body)
        return _assigned(assigner.thaw([row.id for row in rows], actor.name, body.why))

    @routes.post("/v1/devices/{device}/decommission")
    def decommission(actor: Who, device: str, body: DecommissionBody) -> dict[str, Any]:
        before = of_gone(actor, device)
        if before is None:
            # Not checked as a body is: a name too long for one is only a device that nobody knows.
            chosen(asking, actor, "device.decommission", ChosenBody.model_construct(devices=[device]))
        steps = gone.decommission(device, actor.name, body.kept, body.why)
        return {
            "device": device,
            "done": all(step.done is not False for step in steps),
            "steps": [vars(step) for step in steps],
        }

    @routes.post("/v1/devices/{device}/readmit")
    def readmit(actor: Who, device: str, body: ReasonBody) -> dict[str, Any]:
        if of_gone(actor, device) is None:
            with database.read() as connection:
                here = devices.find_in(connection, device, actor.regions)
            if here is not None:
                raise Refused(f"{device} was not decommissioned: it is in {here.region or 'no region'}")
            raise NotFound(f"no device {device} is known as decommissioned. See: edgefleet device gone")
        gone.readmit(device, actor.name, body.why)
        return {"device": device}

    @routes.get("/v1/decommissioned")
    def every_gone(actor: Who, limit: Limit = 100, after: str = "") -> dict[str, Any]:
        mine = asking.somewhere(actor, "device.read")
        with database.read() as connection:
            rows = decommissioned.after(connection, after, limit + 1, mine)
        return {
            "items": [_gone(row) for row in rows[:limit]],
            "next": rows[limit - 1].device if len(rows) > limit else None,
        }

    @routes.get("/v1/groups/{group}")
    def one(actor: Who, group: str, limit: Limit = 100, after: str = "") -> dict[str, Any]:
        mine = asking.somewhere(actor, "group.read")
        with database.read() as connection:
            row = groups.find(connection, group)
        if row is None:
            raise NotFound(f"there is no group {group}. See: edgefleet group list")
        return {**group_view(row), **found(row.query, mine, limit, after)}

    def of_gone(actor: Actor, device: str) -> Gone | None:
        """Return what is known of a device that is gone, where `actor` may decide about it."""
        mine = asking.somewhere(actor, "device.decommission")
        with database.read() as connection:
            row = decommissioned.find(connection, device)
        if row is not None and mine is not None and row.region not in mine:
            asking.deed(actor, "device.decommission", row.region, device, f"refused: {actor.name} has no rights there")
            return None  # in the words for a name that nobody knows
        return row

    return routes


def _assigned(done: Assigned) -> dict[str, Any]:
    return {
        "changed": [{"device": row.device, "number": row.number, "region": row.region} for row in done.changed],
        "unchanged": list(done.unchanged),
    }


def _gone(row: Gone) -> dict[str, Any]:
    return {
        "device": row.device,
        "region": row.region,
        "by": row.actor,
        "why": row.why,
        "at_s": row.at_s,
        "kept": row.kept,
        "spoke_s": row.spoke_s,
        "spoke_kind": row.spoke_kind,
    }
