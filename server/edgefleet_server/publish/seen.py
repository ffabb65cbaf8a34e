"""What the broker was seen to hold of the server's own topics, compared with what was put there.

With identities nobody else can write them. On an open broker anybody can, and a retained topic would stay as it was overwritten.
"""

import hashlib
import threading

MAX_TOPICS = 10_000
"""Of topics that differ and wait: an intruder can make up names without end."""
AGAIN_S = 1.0
"""A topic is put right at most once in this time: whoever overwrites it without end must not keep the server busy."""


class Seen:
    """Filled by the link's thread, read by the publisher's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[str, str] = {}
        self._differs: dict[str, str | None] = {}
        self._healed_s: dict[str, float] = {}

    def sent(self, topic: str, payload: bytes) -> None:
        """This is about to be put there, so that its echo is no news."""
        with self._lock:
            self._sent[topic] = _digest(payload)

    def came(self, topic: str, payload: bytes) -> bool:
        """The broker says that `topic` holds `payload` (nothing: it was cleared); return whether that is not what was sent last."""
        digest = _digest(payload)
        with self._lock:
            if self._sent.get(topic) == digest:
                self._differs.pop(topic, None)
                return False
            if topic not in self._differs and len(self._differs) >= MAX_TOPICS:
                return False
            self._differs[topic] = digest if payload else None
            return True

    def wrong(self, present: dict[str, str], now_s: float) -> list[str]:
        """Return the topics that do not hold what `present` says they do, and forget them; now_s: of a steady clock."""
        wrong: list[str] = []
        with self._lock:
            for topic, digest in list(self._differs.items()):
                if present.get(topic) == digest:
                    del self._differs[topic]
                elif now_s - self._healed_s.get(topic, float("-inf")) >= AGAIN_S:
                    del self._differs[topic]
                    self._healed_s[topic] = now_s
                    wrong.append(topic)
            self._healed_s = {topic: at for topic, at in self._healed_s.items() if now_s - at < AGAIN_S}
            self._sent = {topic: digest for topic, digest in self._sent.items() if topic in present}
        return wrong


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
