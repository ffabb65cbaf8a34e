"""Authorising, with every refusal written down."""

from dataclasses import dataclass

from ..errors import NotAllowed
from ..seams import Clock
from ..store import audit
from ..store.database import Database
from .actor import Action, Actor, authorise, authorise_somewhere


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
