"""Moves rollouts: looks at the fleet, asks `decide`, stores the move, and signs what the records then say.

The database is written first and the document is derived from it, so a server that dies in between signs the same
document when it is back. Of several controllers over one database one holds the lease; the others wait.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import DeviceAssignment, ReleaseRef
from edgefleet_trust.errors import TrustError

from ..config import ServerConfig
from ..ingest.counters import Counters
from ..seams import Clock, Repository, Signer
from ..store import lease as leases
from ..store import regions, rollouts
from ..store.database import Database, Unavailable
from ..store.devices import Device
from ..store.lease import Lease, Lost
from ..store.pruning import prune
from ..store.rollouts import Record
from .beginning import Beginner, of_model
from .by_hand import Hand, Hands
from .compare import Comparison
from .evidence import Evidence
from .gates import Tally
from .keeper import Keeper
from .learning import Key, Learnt, Missing, missing
from .looking import Looker
from .moving import Mover
from .orders import Order
from .pairs import Pair
from .plan import RegionPlan
from .signing import Signing

LOG = logging.getLogger(__name__)

REFRESH_EVERY_S = 600.0
"""How often it looks whether the timestamp is older than a day, and what need not be kept any more."""
DAY_S = 86400.0
LEASE = "controller"
FOLLOW_S = 2.0
"""What a controller that never leads knows of another one's findings is at most so old."""
LEASE_S = 30.0
"""Longer than a look and its signature take; a controller that died is followed after so long."""
REST = 3.0
"""After a look it rests so many times as long as the look took: while thousands of devices speak, each word would make it look."""


class Controller:
    """One thread that moves rollouts; its other methods are called by the API. Only it signs."""

    def __init__(
        self,
        repository: Repository,
        signer: Signer,
        database: Database,
        config: ServerConfig,
        clock: Clock,
        counters: Counters,
        on_signed: Callable[[], None],
        alone: bool | None = None,
        *,
        may_lead: bool = True,
    ) -> None:
        """alone: whether no other controller can be at work over this database; None asks the database.

        may_lead: else it only stores what is asked for, and another one moves and signs it.
        """
        self._may_lead, self._followed_s = may_lead, float("-inf")
        self._alone = database.engine.dialect.name == "sqlite" if alone is None else alone
        self._repository, self._database = repository, database
        self._config, self._clock, self._counters, self._on_signed = config, clock, counters, on_signed
        self._looker = Looker(repository, database, config, clock, keeps=may_lead)
        self._mover = Mover(database, counters, self._looker)
        self._signing = Signing(repository, signer, database, config, counters, on_signed, self._looker.learner)
        self._beginner = Beginner(repository, database, config, clock, self._looker)
        self._hands = Hands(database, clock, self._looker)
        self._keeper = Keeper(repository, signer, database, clock)
        self._look = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        """Over a look and its signature: the API starts rollouts while the thread moves them."""
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lease: Lease | None = None
        self._refreshed_s = float("-inf")
        self.turned_s: float | None = None
        """When it last finished a look, by the server's clock."""
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)
        self._pruning: threading.Thread | None = None

    def start(self) -> None:
        """Begin to move rollouts."""
        self._thread.start()

    def stop(self) -> None:
        """End after the move at hand, and let another controller go on."""
        self._stopping.set()
        self._look.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        if self._pruning is not None:
            self._pruning.join(timeout=30)
        with self._lock:
            if self._lease is not None:
                try:
                    with self._database.write() as connection:
                        leases.give_back(connection, self._lease, self._clock.now())
                except Unavailable as error:  # a database that is away or full must not keep the rest from ending
                    LOG.warning("the lease could not be given back, and runs out by itself: %s", error.orig)
                self._lease = None

    def look(self) -> None:
        """A device said something that matters: look at once."""
        self._look.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                self.turn()
                self._database.outage.works("rollouts")
            except Unavailable as error:
                self._database.outage.refused("rollouts", error)
                self._counters.add("controller_faults", reason=str(error))
                self._stopping.wait(1.0)
            except Exception:  # a repository that a person is changing, a full disk: say so, and look again
                LOG.exception("the rollout controller could not finish its look")
                self._counters.add("controller_faults")
                self._stopping.wait(1.0)
            self._stopping.wait(min(REST * (time.monotonic() - began_s), 10 * self._config.rollouts.tick_s))
            self._look.wait(self._config.rollouts.tick_s)
            self._look.clear()

    def turn(self) -> None:
        """Look once: at most one move for each rollout, then one signature for each region that needs it."""
        with self._lock:
            now = self._clock.now()
            lease = self._take(now)
            if lease is None:
                self.turned_s = now  # it did what is its to do: nothing
                return
            slowly = now - self._refreshed_s >= REFRESH_EVERY_S
            try:
                self._turn(lease, now, slowly=slowly)
            except Lost as lost:
                LOG.warning("%s", lost)
                self._lease = None
                return
            self.turned_s = now
        if slowly:
            self._prune_beside(now)

    def _turn(self, lease: Lease, now: float, *, slowly: bool) -> None:
        records = self.current()
        moving = [record for record in records if record.status in ("running", "paused")]
        if moving or slowly:
            self._looker.look()
        if slowly:
            self._looker.learn()
        if moving:
            listed = {ref.sha256 for ref in self._repository.releases().values()}
            with self._database.read() as connection:
                frozen = regions.freezes(connection)
        for record in moving:
            if record.region in frozen:
                self._mover.hold_back(record, f"{record.region} is frozen by {frozen[record.region]}")
            else:
                self._mover.try_to_advance(record, lease, now, listed)
        self._looker.forget_others(records)
        for region in self._repository.regions():
            self._signing.try_sign(region, lease, now)
        if slowly:
            self._signing.refresh(lease, now)
            self._refreshed_s = now

    def _take(self, now: float) -> Lease | None:
        """Take or keep the lease; return None while another controller has it."""
        if not self._may_lead:
            return None
        held = self._lease
        if held is not None and held.until_s - now > LEASE_S / 2:
            return held
        with self._database.write() as connection:
            found = leases.take(connection, LEASE, self._name, now, LEASE_S, alone=self._alone)
        if found is not None and (held is None or found.fence != held.fence):
            LOG.info("this controller moves the rollouts, under number %d", found.fence)
        if found is None and held is not None:
            LOG.warning("another controller moves the rollouts now")
        self._lease = found
        return found

    @property
    def leads(self) -> bool:
        """Whether this controller is the one that moves rollouts."""
        return self._lease is not None

    def current(self, region: str | None = None) -> tuple[Record, ...]:
        """Return the rollouts that were not superseded."""
        with self._database.read() as connection:
            return rollouts.current(connection, region)

    def fleet(self) -> tuple[Device, ...]:
        """Return all devices, by name, without decoding anew what did not change."""
        return self._looker.every()

    def _follow(self) -> None:
        """Know what the one that leads found. It keeps that in its memory, and a process beside it would never hear of it."""
        if not self._may_lead and time.monotonic() - self._followed_s >= FOLLOW_S:
            self._looker.follow(self.current())
            self._followed_s = time.monotonic()

    def evidence(self, record: Record) -> tuple[tuple[Evidence, ...], Tally]:
        """Return what every device of the record's region is to it now, and the counts of the open stage."""
        self._follow()
        self._looker.look()
        weighed = self._looker.weigh(record)
        return weighed.evidence, weighed.counts

    def manifest(self, ref: ReleaseRef) -> Release:
        """Return a release; they never change, so each is read once."""
        return self._looker.manifest(ref)

    def pairs(self, record: Record) -> tuple[Pair, ...]:
        """Return the devices on which the model was compared with the one before."""
        self._follow()
        return self._looker.pairs(record)

    def found(self, record: Record) -> Comparison:
        """Return what is known of the model against the one before."""
        return self._looker.found(record)

    def later(self, record: Record) -> Comparison | None:
        """Return the same by what devices served later; None where no stage is judged on."""
        return self._looker.later(record)

    def learnt(self) -> dict[Key, Learnt]:
        """Return what classes of devices measured, by release, variant and class."""
        self._follow()
        if self._may_lead:
            self._looker.look()
            self._looker.learn()
        return dict(self._looker.learner.learnt)

    def missing(self, record: Record) -> tuple[Missing, ...]:
        """Return the variants that are wished for: classes of the region that the release has none for."""
        self._follow()
        self._looker.look()
        try:
            weighed = self._looker.weigh(record)
        except (TrustError, ProtocolError):
            return ()  # a release that cannot be read: the record's reason says so
        left_out = {row.device: row.why for row in weighed.evidence if row.standing == "left out"}
        return missing(record.region, record.release, left_out, weighed.fleet)

    def plan(self, order: Order) -> tuple[RegionPlan, ...]:
        """Return what `order` would do in each of its regions."""
        self._follow()
        return self._beginner.plan(order)

    def begin(self, order: Order, actor: str) -> tuple[RegionPlan, ...]:
        """Start the rollout that `order` describes, in all its regions or, when one refuses, in none."""
        with self._lock:
            self._follow()
            plans = self._beginner.begin(order, actor)
            self._sign([row.region for row in plans])
        self.look()
        return plans

    def pause(self, region: str, model: str | None, actor: str, why: str = "") -> Record:
        """Hold the next stage of a rollout back."""
        return self.by_hand(region, model, actor, "pause", why)

    def resume(self, region: str, model: str | None, actor: str, why: str = "") -> Record:
        """Let a paused rollout go on, with its stage's time counted anew."""
        return self.by_hand(region, model, actor, "resume", why)

    def go_back(self, region: str, model: str | None, actor: str, why: str = "") -> Record:
        """Take a release back, whatever its evidence says."""
        return self.by_hand(region, model, actor, "go-back", why)

    def by_hand(self, region: str, model: str | None, actor: str, hand: Hand, why: str = "") -> Record:
        """Do what a person asks for; return the rollout as it is then."""
        with self._lock:
            self._follow()
            record = self._hands.do(region, model, actor, hand, why)
            self._sign([region])
        self.look()
        return of_model(self.current(region), record.model) or record

    def assign(self, device: str, region: str, tags: tuple[str, ...], actor: str) -> DeviceAssignment:
        """Say where a device belongs: numbered, signed, and retained for it."""
        with self._lock:
            document = self._keeper.assign(device, region, tags, actor)
        self._on_signed()
        self.look()
        return document

    def forget(self, device: str, actor: str, *, force: bool) -> None:
        """Remove a device: what it said, its assignment, and what the broker retains of it."""
        with self._lock:
            self._keeper.forget(device, actor, force=force)
        self._on_signed()
        self.look()

    def clear_alarm(self, device: str, actor: str, why: str) -> None:
        """Take a device out of quarantine: its owner says that one copy is left."""
        with self._lock:
            self._keeper.clear_alarm(device, actor, why)
        self.look()

    def _sign(self, regions: list[str]) -> None:
        """Sign at once where this controller leads; else the one that does signs at its next look."""
        now = self._clock.now()
        lease = self._take(now)
        if lease is None:
            return
        try:
            for region in regions:
                self._signing.sign(region, lease, now)
        except Lost as lost:  # what was asked for is stored: whoever has the lease now signs it
            LOG.warning("%s", lost)
            self._lease = None

    def _prune_beside(self, now: float) -> None:
        """Prune in a thread of its own: a large fleet's windows of a day take an hour, and neither rollouts nor the API wait for them."""
        if not self._thread.is_alive():  # somebody turns it by hand
            self._prune(now)
        elif self._pruning is None or not self._pruning.is_alive():
            self._pruning = threading.Thread(target=self._try_to_prune, args=(now,), name="pruning", daemon=True)
            self._pruning.start()

    def _try_to_prune(self, now: float) -> None:
        try:
            self._prune(now)
            self._database.outage.works("pruning")
        except Unavailable as error:
            # Tried again in minutes, by when others have said that the database works.
            self._database.outage.met("pruning", error)
            self._counters.add("controller_faults", reason=str(error))
        except Exception:
            LOG.exception("what is older than it is kept could not be removed")
            self._counters.add("controller_faults")

    def _prune(self, now: float) -> None:
        keep = self._config.longest_keep
        gone = prune(
            self._database,
            windows_before_s=now - keep.windows_days * DAY_S,
            quarters_before_s=now - keep.quarters_days * DAY_S,
            events_before_s=now - keep.events_days * DAY_S,
            alerts_before_s=now - keep.alerts_days * DAY_S,
            audit_before_s=now - keep.audit_days * DAY_S,
            go_on=lambda: not self._stopping.is_set(),
        )
        for name, count in vars(gone).items():
            self._counters.add(f"{name}_pruned", count)
