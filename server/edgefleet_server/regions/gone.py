"""Decommissioning: a device leaves the fleet for good, and is known for what it is should it speak again."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgefleet_protocol.codec import decode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.messages import Presence
from edgefleet_protocol.names import check_label
from edgefleet_protocol.topics import TABLE, Kind, Parsed, Topics

from ..errors import NotFound, Refused
from ..link.inbox import Incoming
from ..seams import Clock
from ..store import audit, decommissioned, devices, retained
from ..store.database import Connection, Database
from ..store.decommissioned import Gone, Kept

NOTE_EVERY_S = 60.0
"""A device that talks and talks is written down once a minute."""
UNDER_WAY_S = 10.0
LOOK_EVERY_S = 5.0
RETAINED = frozenset(row.kind for row in TABLE if row.retained and row.writer == "device")


class CutOff(Protocol):
    """Revokes what a device is known by; `broker.revocation.Revocation` is one."""

    def cut_off(self, device: str, actor: str) -> Sequence["Done"]:
        """Return what became of each step; raise Refused where there are no identities, NotFound for one that had none."""


class Done(Protocol):
    """One step."""

    @property
    def name(self) -> str: ...

    @property
    def done(self) -> bool | None: ...

    @property
    def words(self) -> str: ...


@dataclass(frozen=True)
class Step:
    """What became of one part of a decommissioning."""

    name: str
    done: bool | None
    words: str


def topics_of(topics: Topics, device: str) -> list[str]:
    """Return every topic of a device that a broker retains."""
    kinds: list[Kind] = [row.kind for row in TABLE if row.retained and "{id}" in row.pattern]
    return [topics.of_device(device, kind) for kind in kinds]


class GoneWatch:
    """Knows who is gone, also where another process took them out, and what to do when one of them speaks all the same."""

    def __init__(self, database: Database, clock: Clock, clear: Callable[[str], None] = lambda topic: None) -> None:
        """clear: takes what is retained on a topic off the broker, if there is a connection."""
        self._database, self._clock, self._clear = database, clock, clear
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()
        self._read_s = float("-inf")

    def forget(self) -> None:
        """Somebody was taken out, or let in again: look anew."""
        self._read_s = float("-inf")

    def is_gone(self, device: str) -> bool:
        """Return whether a device was decommissioned."""
        now = self._clock.now()
        if not 0 <= now - self._read_s < LOOK_EVERY_S:
            with self._database.read() as connection:
                self._names = decommissioned.names(connection)
            self._read_s = now
        return device in self._names

    def spoke(self, connection: Connection, topic: Parsed, message: Incoming, now: float) -> str:
        """Keep that a device that is gone spoke, and have cleared what it left on the broker; return it in words.

        What was under way when it was taken out is no voice, nor what the broker remembers, nor its last will, which the
        broker speaks.
        """
        device, kind = topic.name, topic.kind
        with self._lock:
            due = now >= self._noted.get(device, float("-inf")) + NOTE_EVERY_S
            voice = due and not message.retained and not _is_will(kind, message.payload)
            if voice:
                self._noted[device] = now
        if voice and (gone := decommissioned.find(connection, device)) is not None:
            # Another process may have taken it for a new device in the seconds before it knew.
            decommissioned.remove_device(connection, device)
            if now >= gone.at_s + UNDER_WAY_S:
                decommissioned.spoke(connection, device, kind, now)
            else:
                self._noted.pop(device, None)
        if kind in RETAINED:
            # At once, and again whenever the broker says that it is there: at each connection it does.
            self._clear(message.topic)
        return f"{device} was decommissioned"


class Decommissioner:
    """Takes devices out, and remembers who is out. `on_signed`: the publisher should look."""

    def __init__(
        self,
        database: Database,
        topics: Topics,
        clock: Clock,
        revocation: CutOff,
        on_signed: Callable[[], None],
        on_change: Callable[[], None],
        watch: GoneWatch,
    ) -> None:
        self._watch = watch
        self._database, self._topics, self._clock, self._revocation = database, topics, clock, revocation
        self._on_signed, self._on_change = on_signed, on_change

    def decommission(self, device: str, actor: str, kept: Kept, why: str) -> tuple[Step, ...]:
        """Revoke its certificates, clear its topics, and take it out of the fleet; return what became of each step.

        First it is taken out, so that whatever it says from now on makes no new device; certificates come after, and a step
        of theirs that failed is done by the same call again. Raises NotFound for a name that nobody knows.
        """
        check_label("device", device)
        now = self._clock.now()
        with self._database.write() as connection:
            known, before = devices.find(connection, device), decommissioned.find(connection, device)
            if known is None and before is None:
                raise NotFound(f"no device {device} is known. See: edgefleet device list")
            region = known.region if known is not None else before.region if before is not None else None
            if known is not None or before is None:
                state = known.state_bytes if known is not None and kept == "archive" else None
                decommissioned.add(connection, Gone(device, region, actor, why, now, kept, state, None, None))
            if kept == "forget":
                devices.forget(connection, device)
            else:
                decommissioned.remove_device(connection, device)
            names = topics_of(self._topics, device)
            retained.put(connection, dict.fromkeys(names, (retained.UNSETTLED, 0)))
            # Before it is over: whoever stores what devices say waits for it, and looks then.
            self._watch.forget()
        steps = (Step("device", True, "taken out of the fleet" if kept == "forget" else "taken out, what it said is kept"),
                 Step("topics", None, f"{len(names)} retained topics are being cleared"), *self._revoke(device, actor))  # fmt: skip
        done = "; ".join(f"{step.name}: {step.words}" for step in steps)
        with self._database.write() as connection:
            text = f"{kept}, {why or 'no reason given'}; {done}"
            audit.add(connection, audit.AuditRow(now, actor, "device.decommission", region, device, text))
        self._on_signed()
        self._on_change()
        return steps

    def _revoke(self, device: str, actor: str) -> tuple[Step, ...]:
        try:
            return tuple(Step(row.name, row.done, row.words) for row in self._revocation.cut_off(device, actor))
        except (Refused, NotFound) as error:
            # No identities here, or none of this device: there is nothing that could be revoked.
            return (Step("certificates", None, str(error)),)

    def readmit(self, device: str, actor: str, why: str) -> None:
        """Let a name be used again. Its certificates stay revoked: it enrols anew."""
        now = self._clock.now()
        with self._database.write() as connection:
            gone = decommissioned.find(connection, device)
            if gone is None:
                raise NotFound(f"{device} was not decommissioned. See: edgefleet device gone")
            decommissioned.readmit(connection, device)
            text = why or "no reason given"
            audit.add(connection, audit.AuditRow(now, actor, "device.readmit", gone.region, device, text))
        self._watch.forget()


def _is_will(kind: Kind, payload: bytes) -> bool:
    if kind != "presence":
        return False
    try:
        return not decode(payload, Presence).online
    except ProtocolError:
        return False
