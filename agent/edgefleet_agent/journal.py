"""Facts and the events that tell of them, made durable together."""

from collections.abc import Iterable

from msgspec.structs import replace

from edgefleet_protocol.messages import Event

from .log import LOG, level_of
from .seams import Clock
from .store import Store
from .store.facts import MAX_EVENTS, Facts, ModelFacts


class Journal:
    """Writes what happened on this device."""

    def __init__(self, device: str, clock: Clock, store: Store) -> None:
        self._device, self._clock, self._store = device, clock, store

    def commit(self, model: str, facts: ModelFacts, *events: Event) -> None:
        """Make a model's facts and the events that tell of them durable, together."""
        whole = self._store.facts.facts
        whole = replace(whole, models={**whole.models, model: facts})
        self._store.facts.put(with_events(whole, events))
        self.say(*events)

    def event(
        self, kind: str, text: str, model: str | None = None, release: str | None = None, variant: str | None = None
    ) -> Event:
        """Return an event; its number is given when it is stored."""
        return Event(
            device=self._device,
            boot=self._clock.boot(),
            number=0,
            at_s=self._clock.now(),
            kind=kind,
            text=text[:2000],
            model=model,
            release=release[:128] if release else release,
            variant=variant,
        )

    def tell(self, kind: str, text: str, model: str | None = None, release: str | None = None) -> None:
        """Tell of something that changes no fact. On a full disk it is told from memory."""
        told = self.event(kind, text, model, release)
        whole = with_events(self._store.facts.facts, [told])
        try:
            self._store.facts.put(whole)
        except OSError:
            self._store.facts.put_later(whole)
        self.say(told)

    def say(self, *events: Event) -> None:
        """Print a line for each event that became a fact, in the event's own words."""
        for event in events:
            LOG.log(level_of(event.kind), "%s%s: %s", f"{event.model}: " if event.model else "", event.kind, event.text)


def with_events(facts: Facts, events: Iterable[Event]) -> Facts:
    """Return the facts with events added, each with its number; beyond MAX_EVENTS the oldest go."""
    number, rows = facts.event_number, list(facts.events)
    for event in events:
        number += 1
        rows.append(replace(event, number=number))
    return replace(facts, events=tuple(rows[-MAX_EVENTS:]), event_number=number)
