"""What came from the server to be verified, what is under way, and when to look. Holds bytes; believes none of them.

Two kinds of names are asked for. What a look **missed** is waited for, asked for again, and reported to the hub. What is
only **hinted** at is waited for briefly: a false hint must not hold a look back.
"""

import math
from dataclasses import dataclass, field

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.trust import TARGETS_LIMIT

from .hints import Hints
from .seams import Missing
from .store.facts import Trust

STANDING = ("head", "timestamp.json")
"""Subscribed to for as long as the agent runs; all other names are asked for once."""
MAX_HELD = 192
"""Documents that wait to be verified: 64 root rotations, 64 manifests and a few of every other role."""
MAX_HELD_BYTES = 32_000_000
MAX_HINTED_BYTES = 4_000_000
"""Of what only a hint asked for: whoever writes hints must not fill the memory of a small board."""
PATIENCE_S = 2.0
"""How long a look waits for what is hinted at. A round trip on a bad mobile link takes about one second."""
ASK_AGAIN_S = 15.0
"""Silence after which what a look missed is asked for again, and the hub is told with `need`."""
ASK_AGAIN = (1.0, 1.0, 2.0, 4.0, 10.0, 20.0)
"""So many times that silence, try after try: a name that nobody has must not keep a modem busy for days."""
MAX_ENVELOPE_BYTES = 16_000
RETRY_S = (10.0, 60.0, 300.0, 900.0)
"""After a refusal: the clock may be right by then. New metadata is looked at at once."""

Asked = tuple[str, str]
"""(`trust` or `target`, name)."""


@dataclass
class Knowledge:
    """Bytes by name, not yet believed. Times are monotonic seconds."""

    ask_again_s: float = ASK_AGAIN_S
    metadata: dict[str, bytes] = field(default_factory=dict)
    targets: dict[str, bytes] = field(default_factory=dict)
    envelope: bytes | None = None
    """The device's assignment, as it came."""
    missed: dict[Asked, float] = field(default_factory=dict)
    """What a look missed, and when it was asked for."""
    tries: dict[Asked, int] = field(default_factory=dict)
    """How often what a look missed was asked for again."""
    hinted: dict[Asked, float] = field(default_factory=dict)
    """What a hint names, and when it was asked for."""
    hinted_bytes: int = 0
    stale: list[Asked] = field(default_factory=list)
    """Asked for because of something older; no longer wanted."""
    refused: str | None = None
    refusals: int = 0
    seen_key: str = ""
    retry_at: float = math.inf

    # --- what comes

    def came(self, kind: str, name: str, payload: bytes) -> bool:
        """Keep what came when it was asked for; return whether its topic is no longer needed."""
        if kind == "trust" and name in STANDING:
            self._came_standing(name, payload)
            return False
        asked = (kind, name)
        if asked not in self.missed and asked not in self.hinted:
            return True
        if kind == "target" and sha256_hex(payload) != name:
            return False  # silence and a wrong answer are the same
        if not payload or len(payload) > TARGETS_LIMIT or not self._has_room(asked, len(payload)):
            return False
        if asked not in self.missed:
            self.hinted_bytes += len(payload)
        (self.metadata if kind == "trust" else self.targets)[name] = payload
        self.missed.pop(asked, None)
        self.tries.pop(asked, None)
        self.hinted.pop(asked, None)
        return True

    def came_envelope(self, payload: bytes) -> None:
        """Keep the device's assignment until it can be verified."""
        self.envelope = payload if len(payload) <= MAX_ENVELOPE_BYTES else None

    def _came_standing(self, name: str, payload: bytes) -> None:
        """A new timestamp or head: what was under way for the old one is not wanted any more."""
        if not payload or len(payload) > TARGETS_LIMIT or self.metadata.get(name) == payload:
            return
        self._give_up()
        # Their names carry versions and not digests: what somebody put there earlier must not stay in the way.
        self._forget_metadata()
        self.metadata[name] = payload
        self.missed.pop(("trust", name), None)

    def _has_room(self, asked: Asked, size: int) -> bool:
        held = [*self.metadata.values(), *self.targets.values()]
        if asked not in self.missed and self.hinted_bytes + size > MAX_HINTED_BYTES:
            return False
        return len(held) < MAX_HELD and sum(map(len, held)) + size <= MAX_HELD_BYTES

    def _forget_metadata(self) -> None:
        self.metadata = {name: data for name, data in self.metadata.items() if name in STANDING}
        self.hinted_bytes = 0
        if len(self.targets) >= MAX_HELD // 2 or sum(map(len, self.targets.values())) > MAX_HINTED_BYTES:
            self.targets = {}

    # --- what is under way

    def hint(self, found: Hints, now: float) -> list[Asked]:
        """Note what a look will need; return what to subscribe to."""
        names = [("trust", name) for name in found.metadata] + [("target", name) for name in found.targets]
        fresh = [one for one in names if one not in self.hinted and one not in self.missed]
        self.hinted.update(dict.fromkeys(fresh, now))
        return fresh

    def patience(self, now: float) -> float:
        """Return until when a look waits for what is under way; `now` when it can begin."""
        if self.missed:
            return min(map(self._again_at, self.missed))
        return max(self.hinted.values()) + PATIENCE_S if self.hinted else now

    def waits(self) -> bool:
        """Return whether anything is under way."""
        return bool(self.missed or self.hinted)

    def overdue(self, now: float) -> list[Asked]:
        """Return what a look missed and did not come; it counts as asked anew."""
        late = [one for one in self.missed if now >= self._again_at(one)]
        for one in late:
            self.missed[one], self.tries[one] = now, self.tries.get(one, 0) + 1
        return late

    def _again_at(self, one: Asked) -> float:
        pause = ASK_AGAIN[min(self.tries.get(one, 0), len(ASK_AGAIN) - 1)]
        return self.missed[one] + self.ask_again_s * pause

    def new_session(self, now: float) -> list[Asked]:
        """Return what to ask a new connection for; it counts as asked now, and for the first time."""
        self.tries.clear()
        for asked in (self.missed, self.hinted):
            asked.update(dict.fromkeys(asked, now))
        return [*self.missed, *self.hinted]

    def take_stale(self) -> list[Asked]:
        """Return what is no longer wanted, once. What a look missed may be a standing topic: that is wanted for ever."""
        stale, self.stale = self.stale, []
        kept = {*self.missed, *self.hinted, *(("trust", name) for name in STANDING)}
        return [one for one in stale if one not in kept]

    def _give_up(self) -> None:
        self.stale += [*self.missed, *self.hinted]
        self.missed.clear()
        self.tries.clear()
        self.hinted.clear()

    # --- when to look

    def key(self, region: str | None) -> str:
        """Return the name of what there is to look at."""
        parts = (*(self.metadata.get(name, b"") for name in reversed(STANDING)), repr(region).encode())
        return sha256_hex(b"\n".join(parts))

    def verified(self, trust: Trust, region: str | None) -> bool:
        """Return whether the last look passed for what is held."""
        return (
            trust.timestamp_sha256 == sha256_hex(self.metadata.get("timestamp.json", b""))
            and trust.head_sha256 == sha256_hex(self.metadata.get("head", b""))
            and trust.region == region
        )

    def is_due(self, region: str | None, verified: bool, expired: bool, now: float) -> bool:
        """Return whether there is something to look at: new, or expired since, or refused and its time has come.

        The same bytes lead to the same verdict until something in them expires: a quiet fleet does not look.
        verified: the last look passed for this very timestamp, head and region. expired: some of that has ended.
        """
        if "timestamp.json" not in self.metadata:
            return False
        if self.key(region) != self.seen_key:
            return not verified or expired
        return now >= self.retry_at or (expired and self.refused is None)

    def next_look(self, now: float) -> float:
        """Return when time alone gives a reason to look or to ask again; an expiry is seen at the turn after it."""
        return self.patience(now) if self.waits() else max(self.retry_at, now + 1.0)

    # --- how a look went

    def note_missing(self, missing: Missing, now: float) -> list[Asked]:
        """A look needs more: return what to subscribe to."""
        fresh = [("trust", name) for name in missing.metadata] + [("target", name) for name in missing.targets]
        for one in fresh:
            self.missed[one] = now
            self.hinted.pop(one, None)
        return fresh

    def note_refused(self, reason: str, region: str | None, now: float) -> bool:
        """A look was refused; return whether the reason is of a new kind.

        What it looked at is forgotten, so that the next look gets it afresh: something false may have been put there.
        """
        new = self.note_unfinished(reason, region, now)
        self._forget_metadata()
        return new

    def note_unfinished(self, reason: str, region: str | None, now: float) -> bool:
        """A look could not be brought to its end, and nothing was judged; return whether the reason is of a new kind."""
        # The words after the kind may hold the time: the state tells them as they are, an event tells of the kind once.
        new = self.refused is None or _kind(reason) != _kind(self.refused)
        self._give_up()
        self.refusals = 1 if self.key(region) != self.seen_key else self.refusals + 1
        self.refused, self.seen_key = reason, self.key(region)
        self.retry_at = now + RETRY_S[min(self.refusals, len(RETRY_S)) - 1]
        return new

    def note_looked(self, region: str | None) -> None:
        """A look passed: the cache and the store have what it needed, all but the few bytes of the key list."""
        self.refused, self.refusals, self.seen_key = None, 0, self.key(region)
        self.retry_at = math.inf
        self._give_up()
        self._forget_metadata()
        self.targets = {}


def _kind(reason: str) -> str:
    return reason.partition(":")[0]
