"""Authorising, with every refusal written down."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query

from ..errors import NotAllowed, NotFound
from ..seams import Clock
from ..store import audit, devices
from ..store.database import Database
from .actor import Action, Actor, authorise, authorise_somewhere, current_actor

Who = Annotated[Actor, Depends(current_actor)]
"""The first argument of every route."""
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
"""Of a rollout, an alert or a command: a column that counts."""
Word = Annotated[str | None, Query(max_length=256)]
"""A filter by a name."""


@dataclass(frozen=True)
class Asking:
    """Authorises for the routes of one server."""

    database: Database
    clock: Clock

    def deed(self, actor: Actor, action: Action, region: str | None, subject: str, outcome: str) -> None:
        """Write down what was done or refused."""
        with self.database.write() as connection:
            audit.add(connection, audit.AuditRow(self.clock.now(), actor.name, action, region, subject, outcome))

    def may(self, actor: Actor, action: Action, region: str | None) -> None:
        """Authorise in one region, or in the whole fleet."""
        try:
            authorise(actor, action, region)
        except NotAllowed as error:
            self.deed(actor, action, region, "", f"refused: {error}")
            raise

    def somewhere(self, actor: Actor, action: Action) -> frozenset[str] | None:
        """Authorise for what is of many regions; return those that may be seen, None for all."""
        try:
            return authorise_somewhere(actor, action)
        except NotAllowed as error:
            self.deed(actor, action, None, "", f"refused: {error}")
            raise

    def region_of(self, actor: Actor, action: Action, device: str) -> str | None:
        """Authorise for one device; return its region.

        Raises NotFound for one of another region too, in the same words: who may not see it learns not even that it is there.
        """
        regions = self.somewhere(actor, action)
        with self.database.read() as connection:
            found = devices.find_in(connection, device, regions)
            elsewhere = None if found else devices.find(connection, device)
        if elsewhere is not None:
            self.deed(actor, action, elsewhere.region, device, f"refused: {actor.name} has no rights there")
        if found is None:
            raise NotFound(f"no device {device} is known. See: edgefleet device list")
        return found.region
