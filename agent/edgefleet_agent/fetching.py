"""Chunks of every model, asked for through one window and kept when they are right."""

from collections.abc import Iterable

from msgspec.structs import replace

from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.codec import encode
from edgefleet_protocol.errors import BadChunk
from edgefleet_protocol.manifest import Chunk
from edgefleet_protocol.messages import Need
from edgefleet_protocol.topics import Topics

from .journal import Journal
from .link.window import Window
from .live import Live
from .seams import Link
from .store import Store

HOLD_S = 30.0
"""After a chunk could not be written, nothing new is begun for so long."""


class Fetching:
    """The window and the chunk store."""

    def __init__(
        self, device: str, topics: Topics, link: Link, store: Store, journal: Journal, patience_s: float
    ) -> None:
        self._device, self._topics, self._link, self._store, self._journal = device, topics, link, store, journal
        self.window = Window(patience_s=patience_s)
        self._received_bytes = 0

    def take(self, sha256: str, payload: bytes, lives: Iterable[Live], now: float) -> None:
        """Keep a chunk that is wanted and right."""
        chunk = self.window.wanted(sha256)
        if chunk is None:
            return
        try:
            self._store.chunks.add(sha256, unpack(payload, chunk))
        except BadChunk as error:
            if self.window.bad(sha256, now):
                self._journal.tell("bad-chunk", str(error))
            return
        except OSError as error:
            self._hold(list(lives), f"no space: {error.strerror or error} while keeping a chunk", now)
            return
        self.window.got(sha256, len(payload), now)
        self._received_bytes += len(payload)

    def settle(self) -> None:
        """Make what came in this turn durable."""
        try:
            self._store.chunks.settle()
        except OSError:
            return  # they are on the disk and counted at the next turn; `fetch` says what is wrong
        if self._received_bytes:
            facts = self._store.facts.facts
            self._store.facts.put_later(replace(facts, bytes_received=facts.bytes_received + self._received_bytes))
            self._received_bytes = 0

    def ask(self, wanted: Iterable[Chunk], bytes_per_s_limit: int | None, now: float, *, connected: bool) -> None:
        """Tell the window what is wanted, and the broker what the window says."""
        self.window.bytes_per_s_limit = bytes_per_s_limit
        self.window.want(wanted)
        if not connected:
            return
        moves = self.window.moves(now)
        if moves.unsubscribe:
            self._link.unsubscribe([self._topics.chunk(name) for name in moves.unsubscribe])
        if moves.subscribe:
            self._link.subscribe([self._topics.chunk(name) for name in moves.subscribe])
        if moves.need:
            need = Need(device=self._device, chunks=moves.need)
            self._link.publish(self._topics.of_device(self._device, "need"), encode(need))

    def _hold(self, lives: list[Live], why: str, now: float) -> None:
        if not any(live.hold and live.hold[0] == why for live in lives):
            self._journal.tell("no-space", why)
        for live in lives:
            live.hold = (why, now + HOLD_S)
