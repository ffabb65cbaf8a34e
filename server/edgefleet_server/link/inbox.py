"""What came from the broker and waits to be dealt with: bounded. What does not fit is let go of without being acknowledged."""

import threading
from collections import deque
from dataclasses import dataclass

LIMIT_BYTES = 128_000_000
"""Some minutes of a large fleet. More waits only when the database is stuck, or somebody floods."""
OVERHEAD_BYTES = 600
"""Of a message besides its payload, about: objects and topic."""


@dataclass(frozen=True)
class Incoming:
    """A message from the broker. `retained`: it is from the broker's memory, not said just now."""

    topic: str
    payload: bytes
    retained: bool
    session: int
    mid: int
    qos: int


class Inbox:
    """A queue between two threads. Of a topic that is to be kept, the newest message stays whatever else must go."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._waiting: deque[Incoming] = deque()
        self._kept: dict[str, Incoming] = {}
        """By topic: what came while the queue was full. Read after it, so that order holds within a topic."""
        self._changed = threading.Condition()
        self._closed = False

    def put(self, message: Incoming, *, keep: bool) -> Incoming | None:
        """Add `message`; return the one that will not be read because of it: itself, an older one of its topic, or none.

        keep: it says how something is, and not what happened, so the newest of its topic is enough, and is needed.
        """
        with self._changed:
            full = self._bytes + _size(message) > self._limit_bytes
            if not full and message.topic not in self._kept:
                self._waiting.append(message)
                self._bytes += _size(message)
                self._changed.notify()
                return None
            if not keep:
                return message
            older = self._kept.pop(message.topic, None)
            self._kept[message.topic] = message
            self._changed.notify()
            return older

    def get(self, timeout_s: float) -> Incoming | None:
        """Return the next message, or None when none came in time or the inbox was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._kept, timeout_s)
            if self._waiting:
                message = self._waiting.popleft()
                self._bytes -= _size(message)
                return message
            if self._kept:
                return self._kept.pop(next(iter(self._kept)))
            return None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        with self._changed:
            return not self._waiting and not self._kept

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        with self._changed:
            return len(self._waiting) + len(self._kept)

    def close(self) -> None:
        """Wake whoever waits; what is there can still be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _size(message: Incoming) -> int:
    return len(message.payload) + OVERHEAD_BYTES
