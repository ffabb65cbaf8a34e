"""What the rules look at, gathered from what the server has: its database, its documents, its counters."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgefleet_trust.errors import TrustError
from edgefleet_trust.repository import Repository
from edgefleet_trust.status import read_status

from ..errors import ServerError
from ..identity.authority import standings
from ..ingest.counters import Counters
from ..metrics.follow import Follower
from ..rollouts.late import late_failures
from ..seams import Clock
from ..store import decommissioned, identities, rollouts
from ..store.database import Connection, Database
from ..store.devices import Device
from ..store.drifting import Drifting
from .facts import AlertFacts, DeviceFacts, Expiry, GoneFacts, GroupFacts, RolloutFacts

DOCUMENTS_EVERY_S = 600.0
REFUSED_S = 600.0
DRIFT_EVERY_S = 300.0
"""It is decided by whole hours, and a look reads those of every variant."""
STALE_S = 3600.0
"""What a device measured before that says nothing of it now."""


class Gatherer:
    """Reads, and never writes. `connected`: whether the hub hears its broker now."""

    def __init__(
        self,
        database: Database,
        repository: Repository,
        identity: Path | None,
        follower: Follower,
        counters: Counters,
        clock: Clock,
        connected: Callable[[], bool],
        devices: Callable[[], Sequence[Device]],
    ) -> None:
        """devices: returns all of them as they are now."""
        self._devices = devices
        self._database, self._repository, self._identity = database, repository, identity
        self._follower, self._counters, self._clock, self._connected = follower, counters, clock, connected
        self._lock = threading.Lock()
        self._listening_s: float | None = None
        self._expiries: tuple[float, tuple[Expiry, ...]] = (float("-inf"), ())
        self._drifting = Drifting()
        self._drifts: tuple[float, tuple[GroupFacts, ...]] = (float("-inf"), ())
        self._refused: deque[tuple[float, dict[str, int]]] = deque()

    def gather(self) -> AlertFacts:
        """Return this moment."""
        with self._lock:
            now, connected = self._clock.now(), self._connected()
            if not connected:
                self._listening_s = None
            elif self._listening_s is None:
                self._listening_s = now
            self._follower.look()
            known = self._devices()
            with self._database.read() as connection:
                current = rollouts.current(connection)
                ends = _ends(connection, now)
                gone = decommissioned.who_spoke(connection, now - STALE_S)
            return AlertFacts(
                devices=tuple(self._device(row, ends.get(row.id), now) for row in known),
                groups=(*self._follower.groups(), *self._look_at_drift(now)),
                rollouts=tuple(
                    RolloutFacts(row.region, row.model, row.release, row.status, row.why, late_failures(row, known))
                    for row in current
                ),
                expiries=self.expiries(now),
                gone=tuple(
                    GoneFacts(row.device, row.region, row.actor, row.spoke_s or now, row.spoke_kind or "")
                    for row in gone
                ),
                refused=self._refusals(now),
                broker_connected=connected,
                listening_since_s=now if self._listening_s is None else self._listening_s,
            )

    def drifts(self) -> tuple[GroupFacts, ...]:
        """Return every group whose answers can be compared with its first good day."""
        with self._lock:
            return self._look_at_drift(self._clock.now())

    def _look_at_drift(self, now: float) -> tuple[GroupFacts, ...]:
        """Of every variant in every region whose answers can be compared; looked at anew every DRIFT_EVERY_S."""
        if now - self._drifts[0] >= DRIFT_EVERY_S:
            with self._database.read() as connection:
                found = self._drifting.look(connection, now, [*self._repository.regions(), ""])
            groups = tuple(
                GroupFacts(*key, requests=one.drift.n, psi=one.drift.psi, psi_limit=one.drift.noise)
                for key, one in sorted(found.items())
                if one.drift.psi is not None
            )
            self._drifts = now, groups
        return self._drifts[1]

    def expiries(self, now: float) -> tuple[Expiry, ...]:
        """Return every document that ends; read anew every ten minutes."""
        if now - self._expiries[0] >= DOCUMENTS_EVERY_S:
            self._expiries = now, read_expiries(self._repository, self._identity, now)
        return self._expiries[1]

    def _device(self, row: Device, ends_s: float | None, now: float) -> DeviceFacts:
        measured = self._follower.device(row.id)
        if measured is not None and now - measured[0] > STALE_S:
            measured = None
        own, per_hour = (measured[1], measured[2]) if measured else (None, None)
        return DeviceFacts(
            id=row.id,
            region=row.region,
            last_heard_s=row.last_seen_s,
            temperature_c=own.temperature_c if own else None,
            throttled=own.throttled or () if own else (),
            battery_percent=own.battery_percent if own else None,
            battery_charging=own.battery_charging if own else None,
            battery_per_hour=per_hour,
            storage_free_bytes=own.storage_free_bytes if own else None,
            storage_wear_percent=own.storage_wear_percent if own else None,
            trust_problem=row.state.trust_problem if row.state else None,
            cloned=row.alarm.why if row.alarm else None,
            certificate_ends_s=ends_s,
        )

    def _refusals(self, now: float) -> dict[str, tuple[int, str]]:
        counts = {name: count for name, count in self._counters.snapshot().items() if name.endswith("_refused")}
        self._refused.append((now, counts))
        while len(self._refused) > 1 and self._refused[1][0] <= now - REFUSED_S:
            self._refused.popleft()
        before, reasons = self._refused[0][1], self._counters.reasons()
        return {
            name: (count - before.get(name, 0), reasons.get(name, "no reason was kept"))
            for name, count in counts.items()
            if count > before.get(name, 0)
        }


def read_expiries(repository: Repository, identity: Path | None, now: float) -> tuple[Expiry, ...]:
    """Return when each signed document of the repository and of the identity folder ends; those that cannot be read: now."""
    found: list[Expiry] = []
    try:
        for role in read_status(repository, datetime.fromtimestamp(now, UTC)).roles:
            if role.role in ("snapshot", "timestamp") or role.role.startswith("rollout"):
                continue  # the server signs them anew by itself, long before
            step = f"{role.threshold} of {', '.join(role.holders)} sign it anew: edgefleet trust renew {role.role}"
            found.append(Expiry(f"signatures of {role.role}", role.expires.timestamp(), step))
    except (TrustError, OSError) as error:
        found.append(Expiry(f"the repository, which cannot be read ({error}),", now, "See: edgefleet trust status"))
    if identity is not None:
        step = "Renew it: edgefleet server identity renew"
        try:
            found += [
                Expiry(f"certificate of {row.name}", row.not_after.timestamp(), step) for row in standings(identity)
            ]
        except (ServerError, TrustError, OSError, ValueError) as error:
            found.append(Expiry(f"the identity folder, which cannot be read ({error}),", now, step))
    return tuple(found)


def _ends(connection: Connection, now: float) -> dict[str, float]:
    """Return by device the end of its last certificate. One that ended a year ago is of a device that is gone."""
    ends: dict[str, float] = {}
    for row in identities.every(connection):
        if row.live and row.not_after_s > now - 365 * 86400.0:
            ends[row.device] = max(row.not_after_s, ends.get(row.device, 0.0))
    return ends
