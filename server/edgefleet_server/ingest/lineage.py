"""Does a device's word come from the same copy of it as the word before? Pure.

Each start of an agent adds a nonce to those of the starts before, and makes it durable before it tells it. A device that is
started again goes on from what the server knows. Of two copies of one state folder each adds a nonce of its own, so at most
one of them goes on from the other's; and once another has spoken, a start that has ended never speaks again. A start that
does is the second copy: that is the alarm. What merely begins anew (a new card, a damaged file, a backup that was put back)
displaces what was known, and raises none, for the other one is silent from then on.

An agent that tells no starts is known by its boot id, which says less: within one boot everything goes on.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from edgefleet_protocol.messages import DeviceState

MAX_ROWS = 16

Kind = Literal["first", "same", "again", "goes on", "copy", "anew", "stale", "cloned"]
"""first: nothing was known; same: another word of the start that is known; again: the very same word;
goes on: a later start of the same copy; copy: from an older memory than the last one (a backup, or a clone);
anew: from no memory that is known; stale: older than what is known; cloned: two copies speak in turn."""


class Start(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One start of an agent, as far as it was heard."""

    head: str
    """Its nonce; `boot …` of an agent that tells none."""
    boot: str
    machine: str = ""
    key: str = ""
    """SHA-256 of the public key that signed; empty where nothing was signed."""
    boots: int = 0
    session: int = 0
    number: int = 0
    said_s: float = 0.0
    """By the device's clock."""
    first_s: float = 0.0
    last_s: float = 0.0
    """By the server's clock."""
    displaced: bool = False
    """Another copy, or a new memory, spoke after it."""

    def words(self) -> str:
        """Return what names it to a person: the board, its boot, and the start."""
        board = f"board {self.machine}" if self.machine else "a board that says no serial number"
        return f"{board} (boot {self.boot[:36]}, start {self.head[:41]}, number {self.boots})"


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the server remembers of one device's starts. The last row is the one that spoke last."""

    rows: tuple[Start, ...] = ()
    chain: tuple[str, ...] = ()
    """The nonces that the last row told."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two copies of one device. It stands until somebody decides."""

    since_s: float
    why: str
    first: Start
    second: Start


@dataclass(frozen=True)
class Verdict:
    """What a state is to those before. `lineage` is what to remember from now on."""

    kind: Kind
    lineage: Lineage
    why: str = ""
    alarm: Alarm | None = None


def start_of(state: DeviceState, key: str, now: float) -> Start:
    """Return what a state asserts of the start that it comes from."""
    return Start(
        head=state.starts[-1] if state.starts else f"boot {state.boot}",
        boot=state.boot,
        machine=state.machine,
        key=key,
        boots=state.boots,
        session=state.session,
        number=state.number,
        said_s=state.at_s,
        first_s=now,
        last_s=now,
    )


def judge(known: Lineage, state: DeviceState, *, key: str, live: bool, now: float) -> Verdict:
    """Return what `state` is to what is known.

    live: it was said just now, and is not from the broker's memory, which may be of yesterday: that is no proof of anything.
    """
    said, chain = start_of(state, key, now), state.starts or (f"boot {state.boot}",)
    if not known.rows:
        return Verdict("first", _after(known, said, chain))
    last, rows = known.rows[-1], {row.head: row for row in known.rows}
    before = rows.get(said.head)
    if before is not None and before is last:
        return _of_the_same(known, last, said, chain, live)
    if _says_less(last, said, state):
        return Verdict("goes on", _after(known, said, chain))
    if before is not None and _word(said) <= _word(before):
        return Verdict("stale", known, f"word {said.number} of a start of which word {before.number} is known")
    if before is not None or said.head in known.chain:
        if not live:
            return Verdict("stale", known, "from the broker's memory, of a start before the one that is known")
        return _cloned(known, last, said, chain, now)
    if last.head in chain:
        return Verdict("goes on", _after(known, said, chain))
    if live and any(row.displaced and row.head in chain for row in known.rows):
        return _cloned(known, last, said, chain, now)
    older = any(name in chain for name in (*rows, *known.chain))
    return Verdict("copy" if older else "anew", _after(known, said, chain, displaces=True))


def _of_the_same(known: Lineage, last: Start, said: Start, chain: tuple[str, ...], live: bool) -> Verdict:
    """Another word of the start that spoke last."""
    if (said.boot, said.machine) != (last.boot, last.machine):
        # A start has one boot and one board. Two copies of a running machine have both, until one is booted.
        if not live:
            return Verdict("stale", known, "from the broker's memory, of another boot")
        return _cloned(known, last, said, chain, said.last_s)
    if _word(said) < _word(last):
        return Verdict(
            "stale", known, f"word {said.number} of session {said.session}; {last.number} of {last.session} is known"
        )
    fresh = msgspec.structs.replace(said, first_s=last.first_s)
    kind: Kind = "again" if _word(said) == _word(last) else "same"
    return Verdict(kind, Lineage(rows=(*known.rows[:-1], fresh), chain=chain))


def _cloned(known: Lineage, last: Start, said: Start, chain: tuple[str, ...], now: float) -> Verdict:
    why = (
        f"two copies of this device speak in turn: {last.words()} and {said.words()}. "
        "Find out which one is yours; then clear the alarm, revoke the certificate, or forget the device"
    )
    alarm = Alarm(since_s=now, why=why, first=last, second=said)
    return Verdict("cloned", _after(known, said, chain, displaces=True), why, alarm)


def _after(known: Lineage, said: Start, chain: tuple[str, ...], *, displaces: bool = False) -> Lineage:
    """Return what to remember once `said` has spoken."""
    rows = [row for row in known.rows if row.head != said.head]
    same = next((row for row in known.rows if row.head == said.head), None)
    if same is not None:
        said = msgspec.structs.replace(said, first_s=same.first_s)
    if displaces and rows:
        rows[-1] = msgspec.structs.replace(rows[-1], displaced=True)
    return Lineage(rows=(*rows, said)[-MAX_ROWS:], chain=chain)


def _word(start: Start) -> tuple[int, int]:
    """Order within one start. Of an agent that counts no words, its connections; not its clock, which may be set back."""
    return (start.number, 0) if start.number else (0, start.session)


def _says_less(last: Start, said: Start, state: DeviceState) -> bool:
    """An agent that tells no starts, in the boot that spoke last, or one that tells them after one that did not."""
    return said.boot == last.boot and (not state.starts or last.head == f"boot {last.boot}")
