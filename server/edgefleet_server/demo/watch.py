"""Telling what devices and rollouts do, as they do it."""

from .fleet import Fleet
from .narrate import Narrator

QUIET = {"wait"}
"""Moves of a rollout that say nothing new."""


class Watch:
    """Remembers what it has told, and tells the rest."""

    def __init__(self, fleet: Fleet, narrator: Narrator) -> None:
        self._fleet, self._narrator = fleet, narrator
        self._events: set[tuple[str, str, int]] = set()
        self._moves: set[tuple[int, float, str]] = set()

    def look(self) -> None:
        """Tell every event and move that came since the last look."""
        for event in self._fleet.events():
            key = (event["device"], event["boot"], event["number"])
            if key not in self._events:
                self._events.add(key)
                self._narrator.say(f"{event['device']:<12} {event['kind']}: {event['text']}")
        for rollout in self._fleet.rollouts():
            for move in rollout["moves"]:
                moved = (rollout["id"], move["at_s"], move["kind"])
                if moved not in self._moves and move["kind"] not in QUIET:
                    self._moves.add(moved)
                    self._narrator.say(
                        f"{rollout['region']:<12} rollout of {rollout['release']}: {move['kind']}: {move['why']}"
                    )
