"""Which of the asked-for chunks to send again now: each at most every few seconds, each device within its share."""

from collections.abc import Iterable
from dataclasses import dataclass, field

SAME_AGAIN_S = 5.0
"""A hundred devices that ask for one chunk together get it once: it is retained, and all are subscribed."""
BURST = 1024
PER_S = 64.0
"""Hashes: about 4 MB/s for one device that asks for everything again and again."""
KEEP_S = 600.0
"""An asked-for chunk that no plan picks stays retained for this long."""


@dataclass
class _Share:
    left: float
    at_s: float


@dataclass
class Needs:
    """Remembers who asked for what. Used by one thread."""

    _shares: dict[str, _Share] = field(default_factory=dict)
    _answered: dict[str, float] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def ask(self, device: str, names: Iterable[str], now: float) -> tuple[list[str], int]:
        """Return which of `names` to send again now, and how many were too many for the device's share."""
        share = self._shares.setdefault(device, _Share(BURST, now))
        share.left = min(BURST, share.left + max(0.0, now - share.at_s) * PER_S)
        share.at_s = now
        send: list[str] = []
        too_many = 0
        for name in dict.fromkeys(names):
            if share.left < 1:
                too_many += 1
                continue
            share.left -= 1
            if now - self._answered.get(name, float("-inf")) >= SAME_AGAIN_S:
                self._answered[name] = now
                send.append(name)
        return send, too_many

    def keep(self, names: Iterable[str], now: float) -> None:
        """These chunks exist and were asked for: keep them retained for a while."""
        for name in names:
            self._asked.pop(name, None)
            self._asked[name] = now + KEEP_S

    def kept(self, now: float) -> tuple[str, ...]:
        """Return the chunks that were asked for lately, the newest last; forget the others, and idle devices."""
        self._asked = {name: until for name, until in self._asked.items() if until > now}
        self._answered = {name: at for name, at in self._answered.items() if now - at < SAME_AGAIN_S}
        self._shares = {name: share for name, share in self._shares.items() if now - share.at_s < KEEP_S}
        return tuple(self._asked)
