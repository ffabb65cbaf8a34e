"""Which chunks to ask of the broker now: a sliding window, sized in seconds of data. Pure: no socket, no clock.

Chunks are retained messages: a subscription brings one, QoS 0. MQTT has no "not found", so silence is answered by time:
after `timeout_s`, 30 s and more, the chunk is asked for again, and after two tries the hub is told with `need`. Wrong bytes are
no silence: the hub is told at once. The numbers are those
of the measurements in docs/decisions (retained chunks).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgefleet_protocol.chunks import MAX_PAYLOAD_BYTES
from edgefleet_protocol.manifest import Chunk

MAX_TOPICS = 40
"""AWS allows 50 subscriptions to a connection; the agent's own take a few."""
MIN_CHUNKS, START_CHUNKS, MAX_CHUNKS = 2, 4, 16
WINDOW_S = 2.0
PATIENCE_S = 30.0
"""Silence after which a chunk is asked for again, at least: agent.toml may say otherwise."""
MOST_PATIENCES = 10.0
"""A slow link is given more, up to so many times as long."""
TRIES_BEFORE_NEED = 2
AFTER_NEED_S = 2.0
"""Between a `need` for a chunk that was refused and asking for it: sooner, the broker would give the same bytes again."""
NEED_AGAIN = (1.0, 2.0, 4.0, 10.0, 20.0)
"""Patiences between one `need` and the next for the same chunk."""


@dataclass(frozen=True)
class Moves:
    """What to tell the broker."""

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    need: tuple[str, ...] = ()


@dataclass
class _Asked:
    chunk: Chunk
    at: float


@dataclass
class Window:
    """The window over all chunks that are wanted, in order. Times are monotonic seconds."""

    bytes_per_s_limit: int | None = None
    patience_s: float = PATIENCE_S
    _wanted: dict[str, Chunk] = field(default_factory=dict)
    _asked: dict[str, _Asked] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    """Why what came was not what its name says, by chunk."""
    _needed: set[str] = field(default_factory=set)
    """Refused chunks of which the hub was told, and that were not asked for since."""
    _unsubscribe: list[str] = field(default_factory=list)
    _goodput: float | None = None
    _measured: tuple[float, int] | None = None
    """Since when, and how many bytes came since."""
    _credit_at: float = 0.0
    """When the ceiling allows the next chunk."""

    def want(self, chunks: Iterable[Chunk]) -> None:
        """Replace what is wanted; what is no longer wanted is unsubscribed."""
        self._wanted = {chunk.sha256: chunk for chunk in chunks}
        for sha256 in [name for name in self._asked if name not in self._wanted]:
            del self._asked[sha256]
            self._unsubscribe.append(sha256)
        for memory in (self._tries, self._not_before, self._refused):
            for sha256 in [name for name in memory if name not in self._wanted]:
                del memory[sha256]
        self._needed &= self._wanted.keys()

    def wanted(self, sha256: str) -> Chunk | None:
        """Return the wanted chunk of that name, or None."""
        return self._wanted.get(sha256)

    def got(self, sha256: str, payload_bytes: int, now: float) -> None:
        """A chunk came and was right."""
        asked = self._asked.pop(sha256, None)
        self._wanted.pop(sha256, None)
        self._tries.pop(sha256, None)
        self._not_before.pop(sha256, None)
        self._refused.pop(sha256, None)
        if asked is not None:
            self._unsubscribe.append(sha256)
        self._measure(payload_bytes, now)

    def bad(self, sha256: str, why: str, now: float) -> bool:
        """A chunk came and was not what its name says. Asking again would bring the same, so the hub is told at once.

        Returns whether it was asked for, and is not known as bad already.
        """
        if self._asked.pop(sha256, None) is None:
            return False
        self._unsubscribe.append(sha256)
        self._tries[sha256] = max(self._tries.get(sha256, 0), TRIES_BEFORE_NEED - 1)
        self._missed(sha256, now)
        new = sha256 not in self._refused
        self._refused[sha256] = why
        return new

    def troubles(self) -> dict[str, str]:
        """Return, by chunk and in words, what was refused or does not come."""
        asked = "the server was asked for it"
        late = [name for name, tries in self._tries.items() if tries >= TRIES_BEFORE_NEED]
        found = {name: f"chunk {name[:12]} does not come; {asked}" for name in late}
        return found | {name: f"chunk {name[:12]} was refused: {why}; {asked}" for name, why in self._refused.items()}

    def forget(self) -> None:
        """The connection is new: nothing is asked for any more. What came is kept.

        The broker may have kept the session, and then what was asked for in it; it is given up, or asked for anew.
        """
        self._unsubscribe = [*self._asked]
        self._asked.clear()
        self._measured = None

    def moves(self, now: float) -> Moves:
        """Return what to tell the broker now."""
        need: list[str] = []
        for sha256, asked in list(self._asked.items()):
            if now >= asked.at + self.timeout_s:
                del self._asked[sha256]
                self._unsubscribe.append(sha256)
                self._missed(sha256, now)
        subscribe: list[str] = []
        in_flight = sum(asked.chunk.wire_bytes for asked in self._asked.values())
        for sha256, chunk in self._wanted.items():
            if len(self._asked) >= MAX_TOPICS or now < self._credit_at:
                break
            if sha256 in self._asked or now < self._not_before.get(sha256, now):
                continue
            if self._asked and in_flight + chunk.wire_bytes > self.window_bytes:
                break
            if sha256 in self._refused and sha256 not in self._needed:
                need.append(sha256)
                self._needed.add(sha256)
                self._not_before[sha256] = now + AFTER_NEED_S
                continue
            if self._tries.get(sha256, 0) >= TRIES_BEFORE_NEED and sha256 not in self._needed:
                need.append(sha256)
            self._needed.discard(sha256)
            self._asked[sha256] = _Asked(chunk, now)
            in_flight += chunk.wire_bytes
            subscribe.append(sha256)
            if self.bytes_per_s_limit:
                self._credit_at = max(now, self._credit_at) + chunk.wire_bytes / self.bytes_per_s_limit
        # A topic whose subscription is renewed is not also given up.
        unsubscribe = tuple(name for name in self._unsubscribe if name not in self._asked or name in subscribe)
        self._unsubscribe.clear()
        if self._asked and self._measured is None:
            self._measured = (now, 0)
        return Moves(tuple(subscribe), unsubscribe, tuple(need[:256]))

    def due(self, now: float) -> float | None:
        """Return when `moves` would next say something without a message coming; None when nothing is wanted."""
        if not self._wanted:
            return None
        times = [asked.at + self.timeout_s for asked in self._asked.values()]
        idle = [name for name in self._wanted if name not in self._asked]
        if idle and (len(self._asked) < MIN_CHUNKS or self._credit_at > now):
            times.append(max(self._credit_at, min(self._not_before.get(name, now) for name in idle)))
        return min(times, default=now)

    @property
    def window_bytes(self) -> int:
        """Bytes that may be under way: two seconds of what the link carries, within 2 and 16 chunks."""
        if self._goodput is None:
            return START_CHUNKS * MAX_PAYLOAD_BYTES
        goodput = min(self._goodput, self.bytes_per_s_limit or self._goodput)
        return int(min(max(goodput * WINDOW_S, MIN_CHUNKS * MAX_PAYLOAD_BYTES), MAX_CHUNKS * MAX_PAYLOAD_BYTES))

    @property
    def timeout_s(self) -> float:
        """How long silence is borne: four times what the window should take, 1 to 10 patiences."""
        if not self._goodput:
            return self.patience_s
        return self.patience_s * min(MOST_PATIENCES, max(1.0, 4 * self.window_bytes / self._goodput / self.patience_s))

    def _missed(self, sha256: str, now: float) -> None:
        tries = self._tries.get(sha256, 0) + 1
        self._tries[sha256] = tries
        if tries > TRIES_BEFORE_NEED:  # it was needed and still did not come: ask ever more seldom
            pause = NEED_AGAIN[min(tries - TRIES_BEFORE_NEED, len(NEED_AGAIN)) - 1]
            self._not_before[sha256] = now + pause * self.patience_s

    def _measure(self, payload_bytes: int, now: float) -> None:
        """Keep a moving estimate of bytes a second, over stretches of at least half a second and one whole chunk.

        A few hundred bytes say nothing of a link: they would make the timeouts minutes long.
        """
        since, count = self._measured or (now, 0)
        count += payload_bytes
        if now - since < 0.5 or count < MAX_PAYLOAD_BYTES:
            self._measured = (since, count)
            return
        rate = count / (now - since)
        self._goodput = rate if self._goodput is None else 0.5 * self._goodput + 0.5 * rate
        self._measured = (now, 0) if self._asked else None
