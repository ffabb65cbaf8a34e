"""What came from the server to be verified, and when to look at it.

Retained topics come as the broker likes; a look says what it still misses, and only that is asked for.
"""

from dataclasses import dataclass, field

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.trust import TARGETS_LIMIT

from .seams import Missing
from .store.facts import Trust

MAX_HELD = 128
"""Documents that wait to be verified: 64 root rotations and a few of every other role."""
ASK_TIMEOUT_S = 15.0
"""Silence after which what was asked for is asked for again, and the hub is told with `need`."""
RETRY_S = (10.0, 60.0, 300.0, 900.0)
"""After a refusal: the clock may be right by then. New metadata is looked at at once."""
LOOK_AGAIN_S = 6 * 3600.0
"""So that an expiry is noticed although nothing came."""


@dataclass
class Knowledge:
    """Bytes by name, not yet believed."""

    metadata: dict[str, bytes] = field(default_factory=dict)
    targets: dict[str, bytes] = field(default_factory=dict)
    envelope: bytes | None = None
    """The device's assignment, as it came."""
    asked: dict[tuple[str, str], float] = field(default_factory=dict)
    """(`trust` or `target`, name) that were asked for, and when."""
    stale: list[tuple[str, str]] = field(default_factory=list)
    """Asked for because of an older timestamp; no longer wanted."""
    refused: str | None = None
    refusals: int = 0
    seen_key: str = ""
    retry_at: float = 0.0
    looked_at: float = 0.0

    def came(self, kind: str, name: str, payload: bytes) -> bool:
        """Keep what came; return whether it was asked for once and need not be subscribed to any longer."""
        store = self.metadata if kind == "trust" else self.targets
        if len(payload) > TARGETS_LIMIT or (name not in store and len(store) >= MAX_HELD):
            return False
        if kind == "target" and sha256_hex(payload) != name:
            return False  # silence and a wrong answer are the same: it is asked for again
        if kind == "trust" and name in ("head", "timestamp.json") and store.get(name) != payload:
            self.stale += list(self.asked)
            self.asked.clear()
        store[name] = payload
        return self.asked.pop((kind, name), None) is not None

    def key(self, region: str | None) -> str:
        """Return the name of what there is to look at."""
        return sha256_hex(
            b"\n".join(
                (self.metadata.get("timestamp.json", b""), self.metadata.get("head", b""), repr(region).encode())
            )
        )

    def verified(self, trust: Trust, region: str | None) -> bool:
        """Return whether the last look passed for what is held."""
        return (
            trust.timestamp_sha256 == sha256_hex(self.metadata.get("timestamp.json", b""))
            and trust.head_sha256 == sha256_hex(self.metadata.get("head", b""))
            and trust.region == region
        )

    def is_due(self, region: str | None, verified: bool, now: float) -> bool:
        """Return whether to look now. verified: the last look passed for this very timestamp, head and region."""
        if "timestamp.json" not in self.metadata or self.asked:
            return False
        if self.key(region) != self.seen_key:
            return not verified or now >= self.looked_at + LOOK_AGAIN_S
        return now >= self.retry_at

    def note_missing(self, missing: Missing, now: float) -> list[tuple[str, str]]:
        """A look needs more: return what to subscribe to."""
        fresh = [("trust", name) for name in missing.metadata] + [("target", name) for name in missing.targets]
        for one in fresh:
            self.asked[one] = now
        return fresh

    def note_refused(self, reason: str, region: str | None, now: float) -> bool:
        """A look was refused; return whether the reason is a new one."""
        new = reason != self.refused
        self.refusals = 1 if self.key(region) != self.seen_key else self.refusals + 1
        self.refused, self.seen_key, self.looked_at = reason, self.key(region), now
        self.retry_at = now + RETRY_S[min(self.refusals, len(RETRY_S)) - 1]
        return new

    def note_looked(self, region: str | None, now: float) -> None:
        """A look passed: only `head` and the timestamp are kept, the rest is in its cache."""
        self.refused, self.refusals, self.seen_key = None, 0, self.key(region)
        self.looked_at, self.retry_at = now, now + LOOK_AGAIN_S
        self.metadata = {name: self.metadata[name] for name in ("head", "timestamp.json") if name in self.metadata}
        self.targets = {}

    def overdue(self, now: float) -> list[tuple[str, str]]:
        """Return what was asked for and did not come; it counts as asked anew."""
        late = [one for one, at in self.asked.items() if now >= at + ASK_TIMEOUT_S]
        for one in late:
            self.asked[one] = now
        return late

    def due(self, now: float) -> float:
        """Return when time alone makes something to do."""
        return min([at + ASK_TIMEOUT_S for at in self.asked.values()], default=max(self.retry_at, now + 1.0))
