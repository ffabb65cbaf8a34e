"""The routes of commands to many devices, and of long answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from edgefleet_protocol.messages import MAX_COMMAND_S

from ..commanding import DEFAULT_LIFE_S, Commander
from ..errors import NotFound
from ..store import commands, devices, pieces
from ..views.device import command_view
from .actor import Actor, current_actor
from .asking import Asking, Number
from .choosing import ChosenBody, chosen

Who = Annotated[Actor, Depends(current_actor)]
MOST = 1000
"""Of one call: each is signed, stored and sent, and must be obeyed before it is late."""


class OrderBody(ChosenBody):
    """What they should do at once."""

    action: str = Field(min_length=1, max_length=128, pattern=r"^[a-z][a-z0-9-]*$", examples=["diag"])
    arguments: dict[str, Annotated[str, Field(max_length=2000)]] = Field(default={}, max_length=16)
    life_s: float = Field(default=DEFAULT_LIFE_S, ge=1, le=MAX_COMMAND_S, description="after it, no device obeys it")


def make_hands_routes(asking: Asking, commander: Commander) -> APIRouter:
    """Return the routes."""
    routes, database, clock = APIRouter(), asking.database, asking.clock

    @routes.post("/v1/commands", status_code=201)
    def order(actor: Who, body: OrderBody) -> dict[str, Any]:
        """Nothing is sent when one device is not known; else it says to which it was sent, and why not to the others."""
        rows = chosen(asking, actor, "device.command", body, MOST)
        sent, refused = commander.send_each(
            [row.id for row in rows], body.action, body.arguments, actor.name, body.life_s
        )
        return {
            "sent": [command_view(row, clock.now()) for row in sent],
            "refused": [{"device": device, "why": why} for device, why in refused],
        }

    @routes.get("/v1/devices/{device}/commands/{number}/answer")
    def answer(actor: Who, device: str, number: Number) -> dict[str, Any]:
        """The long part of an answer: logs, a diagnosis."""
        mine = asking.somewhere(actor, "device.read")
        with database.read() as connection:
            if devices.find_in(connection, device, mine) is None:
                raise NotFound(f"no device {device} is known. See: edgefleet device list")
            row, text = commands.find(connection, device, number), pieces.read(connection, device, number)
        if row is None:
            raise NotFound(f"no command {number} was sent to {device}")
        return {**command_view(row, clock.now()), "answer": text}

    return routes
