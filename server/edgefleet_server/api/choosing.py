"""Which devices a call is about: those that whoever asks may reach, all of them or none."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..errors import NotFound
from ..groups.select import MOST, select
from ..store import devices
from ..store.devices import Device
from .actor import Action, Actor
from .asking import Asking

Name = Annotated[str, Field(max_length=64)]


class ChosenBody(BaseModel):
    """Devices by name, or those that a query or a saved group means; one of the two."""

    model_config = ConfigDict(extra="forbid")

    devices: list[Name] = Field(default=[], max_length=MOST, examples=[["door-1"]])
    group: str | None = Field(default=None, max_length=1000, description="a query, as in tag=door, or a group's name")


def chosen(asking: Asking, actor: Actor, action: Action, body: ChosenBody, most: int = MOST) -> tuple[Device, ...]:
    """Return the devices; raise, with nothing done, when one of them is not known where `actor` may do `action`.

    Of a device of another region nothing is told, not even that it is there; that it was asked for is written down.
    """
    regions = asking.somewhere(actor, action)
    try:
        with asking.database.read() as connection:
            return select(connection, body.devices, body.group, regions, most=most)
    except NotFound:
        with asking.database.read() as connection:
            foreign = [
                device
                for name in dict.fromkeys(body.devices)
                if (device := devices.find(connection, name)) is not None
                and devices.find_in(connection, name, regions) is None
            ]
        for device in foreign[:20]:
            asking.deed(actor, action, device.region, device.id, f"refused: {actor.name} has no rights there")
        raise
