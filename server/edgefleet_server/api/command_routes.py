"""The routes of /v1/devices/{device}/commands."""

from typing import Any

from fastapi import APIRouter

from ..commanding import Commander
from ..views import Views
from .asking import Asking, Number, Who
from .bodies import CommandBody
from .paging import After, Limit, page, seal, unseal


def make_command_routes(asking: Asking, commander: Commander, views: Views) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    @routes.post("/v1/devices/{device}/commands", status_code=201, name="send_command")
    def send(actor: Who, device: str, body: CommandBody) -> dict[str, Any]:
        """Send a device a signed command; its answer is asked for by the command's id."""
        asking.region_of(actor, "device.command", device)
        row = commander.send(device, body.action, body.arguments, actor.name, body.life_s)
        return views.command(device, row.id)

    @routes.get("/v1/devices/{device}/commands", name="commands")
    def every(actor: Who, device: str, limit: Limit = 100, after: After = None) -> dict[str, Any]:
        """Commands to a device, newest first."""
        asking.region_of(actor, "device.read", device)
        mark = unseal(after, int)
        rows = views.lists.commands(device, before=mark[0] if mark else None, limit=limit)
        return page(rows, limit, lambda row: seal(row["id"]))

    @routes.get("/v1/devices/{device}/commands/{number}", name="command")
    def one(actor: Who, device: str, number: Number) -> dict[str, Any]:
        """One command and its answer."""
        asking.region_of(actor, "device.read", device)
        return views.command(device, number)

    return routes
