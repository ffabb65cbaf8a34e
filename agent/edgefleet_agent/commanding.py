"""Commands: verified, counted durably, done once, answered. What is refused changes nothing and is told."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.dsse import open_envelope
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.messages import MAX_MESSAGE_BYTES, Command, Reply
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import COMMAND_TYPE

from . import __version__
from .journal import Journal
from .log import LOG
from .observe import Now
from .rules.command import Here, refuse
from .rules.pieces import cut
from .seams import Link
from .signatures import verifiers
from .store import Store

MAX_WAITING = 16
"""Of one turn. Verifying costs a small board milliseconds each, and whoever floods must not cost it more."""
TELL_EVERY_S = 60.0
"""Refusals of one kind are told so often, with their count: each event is a write to the card."""


@dataclass(frozen=True)
class Answer:
    """What came of an action."""

    ok: bool
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    """More than fits into one message: sent in pieces."""
    later: "Callable[[], Answer | None] | None" = None
    """It goes on: asked at each turn until it says what came of it. `text` says that it was begun."""


Act = Callable[[str, Mapping[str, str]], Answer]
"""(action, arguments) -> what came of it; never raises for what it is asked."""


class Commanding:
    """The part of a turn that obeys commands."""

    def __init__(self, device: str, topics: Topics, *, link: Link, store: Store, journal: Journal, act: Act) -> None:
        self._device, self._topics, self._act = device, topics, act
        self._link, self._store, self._journal = link, store, journal
        self._waiting: list[bytes] = []
        self._at_work: list[tuple[Command, Callable[[], Answer | None]]] = []
        self._told: dict[str, float] = {}
        self._untold: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def take(self, payload: bytes) -> None:
        """Keep what came for the step of this turn."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(payload)
        else:
            self.refused["flood"] += 1

    def step(self, moment: Now, session: int) -> None:
        """Obey or refuse what came, in its order."""
        waiting, self._waiting = self._waiting, []
        for payload in waiting:
            self._one(payload, moment, session)
        rows, self._at_work = self._at_work, []
        for command, poll in rows:
            answer = poll()
            if answer is None:
                self._at_work.append((command, poll))
            else:
                self._reply(command, answer)

    @property
    def busy(self) -> bool:
        """Whether something that was ordered is still being done."""
        return bool(self._at_work)

    def _one(self, payload: bytes, moment: Now, session: int) -> None:
        trust, counters = self._store.facts.trust, self._store.counters.counters
        try:
            data = open_envelope(payload, COMMAND_TYPE, verifiers(trust.command_keys))
            command = decode(data, Command, agent_version=__version__, limit=MAX_MESSAGE_BYTES)
        except ProtocolError as error:
            self._refuse("forged", str(error), moment)
            return
        here = Here(
            device=self._device,
            epoch=counters.epoch,
            number=counters.number,
            session=session,
            wall_s=moment.wall_s,
            clock_trusted=moment.clock_trusted,
            floor_s=trust.floor.timestamp() if trust.floor else 0.0,
        )
        if refusal := refuse(command, here):
            self._refuse(refusal.kind, f"{command.action}, number {command.number}: {refusal.why}", moment)
            if refusal.answer:
                self._reply(command, Answer(False, f"refused as {refusal.kind}: {refusal.why}"))
            return
        try:
            # Before it is done: after a cut in between it is lost, and the server asks again; it is never done twice.
            self._store.counters.obeyed(command.number)
        except OSError as error:
            why = f"its number could not be stored: {error.strerror}"
            self._refuse("uncounted", why, moment)
            self._reply(command, Answer(False, why))
            return
        LOG.info("command %d: %s %s", command.number, command.action[:128], dict(command.arguments) or "")
        answer = self._act(command.action, command.arguments)
        self._reply(command, answer)
        if answer.later is not None:
            self._at_work.append((command, answer.later))

    def _reply(self, command: Command, answer: Answer) -> None:
        reply = Reply(
            device=self._device,
            number=command.number,
            ok=answer.ok,
            text=answer.text[:2000],
            epoch=command.epoch,
            facts={name: text[:2000] for name, text in answer.facts.items()},
            more=answer.later is not None,
        )
        pieces = cut(answer.data) or [b""]
        for place, data in enumerate(pieces):
            whole = replace(reply, data=data, piece=place, pieces=len(pieces), facts=reply.facts if not place else {})
            self._link.publish(self._topics.of_device(self._device, "reply"), encode(whole))

    def _refuse(self, kind: str, why: str, moment: Now) -> None:
        """Tell of a refusal; of many of one kind, now and then."""
        self.refused[kind] += 1
        now, last = moment.monotonic_s, self._told.get(kind)
        if last is not None and now < last + TELL_EVERY_S:
            self._untold[kind] += 1
            return
        more = f" ({self._untold.pop(kind)} more since)" if self._untold[kind] else ""
        self._told[kind] = now
        self._journal.tell("command-refused", f"{kind}: {why}{more}")
