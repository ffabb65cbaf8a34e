"""Moves rollouts: looks at the fleet, asks `decide`, stores the move, and signs what the records then say.

The database is written first and the document is derived from it, so a server that dies in between signs the same
document when it is back.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from edgefleet_protocol.codec import encode
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.names import check_label
from edgefleet_protocol.rollout import DeviceAssignment, Policy, ReleaseRef
from edgefleet_protocol.topics import Kind, Topics
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE, release_of_path
from edgefleet_trust.errors import TrustError

from ..config import ServerConfig
from ..errors import NotFound, Refused
from ..ingest.counters import Counters
from ..ingest.freshness import ASSIGNMENTS_AHEAD
from ..seams import Clock, Repository, Signer
from ..store import audit, devices, events, releases, retained, rollouts
from ..store.database import Database, Unavailable
from ..store.devices import Device
from ..store.pruning import prune
from ..store.rollouts import Record
from . import documents
from .decide import decide
from .evidence import Evidence, weigh
from .gates import Tally, tally
from .orders import Checked, Order, check
from .plan import RegionPlan, devices_in_words, plan

LOG = logging.getLogger(__name__)

REFRESH_EVERY_S = 600.0
"""How often it looks whether the timestamp is older than a day, and what need not be kept any more."""
DAY_S = 86400.0
HEARD_LATELY_S = 600.0


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
    ) -> None:
        self._repository, self._signer, self._database = repository, signer, database
        self._config, self._clock, self._counters, self._on_signed = config, clock, counters, on_signed
        self._look = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        """Over a look and its signature: the API starts rollouts while the thread moves them."""
        self._refreshed_s = float("-inf")
        self.turned_s: float | None = None
        """When it last finished a look, by the server's clock."""
        self._manifests: dict[str, Release] = {}
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)

    def start(self) -> None:
        """Begin to move rollouts."""
        self._thread.start()

    def stop(self) -> None:
        """End after the move at hand."""
        self._stopping.set()
        self._look.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def look(self) -> None:
        """A device said something that matters: look at once."""
        self._look.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.turn()
            except Exception:  # a repository that a person is changing, a full disk: say so, and look again
                LOG.exception("the rollout controller could not finish its look")
                self._counters.add("controller_faults")
                self._stopping.wait(1.0)
            self._look.wait(self._config.rollouts.tick_s)
            self._look.clear()

    def turn(self) -> None:
        """Look once: at most one move for each rollout, then one signature for each region that needs it."""
        with self._lock:
            now = self._clock.now()
            for record in self.current():
                if record.status in ("running", "paused"):
                    self._try_to_advance(record, now)
            for region in self._repository.regions():
                self._try_to_sign(region, now)
            slowly = now - self._refreshed_s >= REFRESH_EVERY_S
            if slowly:
                self._refresh(now)
            self.turned_s = now
        if slowly:  # not under the lock: the API need not wait for it
            self._prune(now)

    def current(self, region: str | None = None) -> tuple[Record, ...]:
        """Return the rollouts that were not superseded."""
        with self._database.read() as connection:
            return rollouts.current(connection, region)

    def evidence(self, record: Record) -> tuple[tuple[Evidence, ...], Tally]:
        """Return what every device of the record's region is to it now, and the counts of the open stage."""
        with self._database.read() as connection:
            fleet = devices.every(connection, record.region)
        release = self.manifest(record.assignment.release)
        found = weigh(record, release, fleet, self._clock.now(), self._config.rollouts.offline_after_s)
        return found, tally(found)

    def manifest(self, ref: ReleaseRef) -> Release:
        """Return a release; they never change, so each is read once."""
        found = self._manifests.get(ref.sha256)
        if found is None:
            found = self._manifests[ref.sha256] = self._repository.manifest(ref)[0]
        return found

    def plan(self, order: Order) -> tuple[RegionPlan, ...]:
        """Return what `order` would do in each of its regions."""
        checked = check(order, self._repository)
        return tuple(self._plan(checked, region) for region in checked.regions)

    def begin(self, order: Order, actor: str) -> tuple[RegionPlan, ...]:
        """Start the rollout that `order` describes, in all its regions or, when one refuses, in none."""
        checked = check(order, self._repository)
        with self._lock:
            plans = tuple(self._plan(checked, region) for region in checked.regions)
            if breaks := [row.breaks for row in plans if row.breaks]:
                raise Refused(
                    f"{order.release} was not rolled out: {'; '.join(breaks)}. If the applications there know of it, accept "
                    "it: --accept-interface-change"
                )
            refused = [row for row in plans if row.refused]
            if refused and not order.force:
                whole = "; ".join(f"{row.refused}{_left_out(row)}" for row in refused)
                raise Refused(f"{order.release} was not rolled out: {whole}. To go on all the same, force it")
            now = self._clock.now()
            with self._database.write() as connection:
                for row in plans:
                    current = self._of_model(rollouts.current(connection, row.region), checked.manifest.model)
                    signed = self._repository.rollout(row.region)
                    previous, previous_policy = documents.base_of(checked.manifest.model, current, signed)
                    why = f"{actor} started it for {devices_in_words(len(row.devices))}"
                    if row.refused:
                        why += f", by force, although {row.refused}"
                    rollouts.add(
                        connection,
                        region=row.region,
                        assignment=checked.assignment(),
                        release=order.release,
                        policy=self._policy(order, row.region),
                        previous=previous,
                        previous_policy=previous_policy,
                        why=why,
                        now=now,
                    )
                    deed = audit.AuditRow(now, actor, "rollout.start", row.region, order.release, why)
                    audit.add(connection, deed)
            for row in plans:
                self._sign(row.region, now)
        self.look()
        return plans

    def pause(self, region: str, model: str | None, actor: str, why: str = "") -> Record:
        """Hold the next stage of a rollout back."""
        return self._by_hand(region, model, actor, "pause", ("running",), why)

    def resume(self, region: str, model: str | None, actor: str, why: str = "") -> Record:
        """Let a paused rollout go on, with its stage's time counted anew."""
        return self._by_hand(region, model, actor, "resume", ("paused",), why)

    def go_back(self, region: str, model: str | None, actor: str, why: str = "") -> Record:
        """Take a release back, whatever its evidence says."""
        return self._by_hand(region, model, actor, "go-back", ("running", "paused", "complete"), why)

    def assign(self, device: str, region: str, tags: tuple[str, ...], actor: str) -> DeviceAssignment:
        """Say where a device belongs: numbered, signed, and retained for it."""
        check_label("device", device)
        for tag in tags:
            check_label("tag", tag)
        if region not in self._repository.regions():
            raise NotFound(f"there is no region {region}. There are: {', '.join(self._repository.regions()) or 'none'}")
        with self._lock:
            now = self._clock.now()
            with self._database.read() as connection:
                known = devices.find(connection, device)
            if known is not None and known.alarm is not None:
                raise Refused(
                    f"{device} is in quarantine: {known.alarm.why}. See: edgefleet device clear-alarm {device} --help"
                )
            number = 1 + _newest_number(known)
            document = DeviceAssignment(device=device, number=number, region=region, tags=tags, issued=_time(now))
            envelope = self._signer.sign_envelope(DEVICE_ASSIGNMENT_TYPE, encode(document))
            with self._database.write() as connection:
                devices.put_assignment(connection, device, number, region, tags, envelope, now)
                text = f"number {number}: {region} {' '.join(tags)}".strip()
                audit.add(connection, audit.AuditRow(now, actor, "device.assign", region, device, text))
        self._on_signed()
        self.look()
        return document

    def forget(self, device: str, actor: str, *, force: bool) -> None:
        """Remove a device: what it said, its assignment, and what the broker retains of it.

        Raises NotFound for one that is not known, Refused, unless forced, for one that was heard of lately: it would be
        back at its next word, without its assignment.
        """
        with self._lock:
            now = self._clock.now()
            with self._database.write() as connection:
                known = devices.find(connection, device)
                if known is None:
                    raise NotFound(f"no device {device} is known. See: edgefleet device list")
                silent_s = None if known.last_seen_s is None else now - known.last_seen_s
                if not force and (known.online or (silent_s is not None and silent_s < HEARD_LATELY_S)):
                    raise Refused(
                        f"{device} is online or was heard of in the last {HEARD_LATELY_S / 60:.0f} minutes, and would be "
                        "back at its next word, without its assignment: end its agent first, or use force"
                    )
                devices.forget(connection, device)
                # The publisher takes them off the broker, where the server would read the device's state again.
                kinds: tuple[Kind, ...] = ("state", "presence", "assignment")
                topics = [Topics(self._repository.fleet).of_device(device, kind) for kind in kinds]
                retained.put(connection, dict.fromkeys(topics, (retained.UNSETTLED, 0)))
                audit.add(connection, audit.AuditRow(now, actor, "device.forget", known.region, device, "forgotten"))
        self._on_signed()
        self.look()

    def clear_alarm(self, device: str, actor: str, why: str) -> None:
        """Take a device out of quarantine: its owner says that one copy is left.

        What spoke last is believed from now on; should the other one speak again, the alarm is raised anew. Raises NotFound,
        or Refused for a device that is not in quarantine.
        """
        with self._lock:
            now = self._clock.now()
            with self._database.write() as connection:
                known = devices.find(connection, device)
                if known is None:
                    raise NotFound(f"no device {device} is known. See: edgefleet device list")
                if known.alarm is None:
                    raise Refused(f"{device} is not in quarantine, so there is no alarm to clear")
                devices.put_alarm(connection, device, None)
                text = f"alarm of {len(known.lineage.rows)} starts cleared: {why or 'no reason given'}"
                audit.add(connection, audit.AuditRow(now, actor, "device.clear-alarm", known.region, device, text))
                events.add_own(connection, device, "alarm-cleared", f"{actor}: {why or 'no reason given'}", now)
        self.look()

    def _try_to_advance(self, record: Record, now: float) -> None:
        """Move one rollout; what stops it is said in its record, and stops no other."""
        try:
            self._advance(record, now)
        except Unavailable:
            raise  # the database is no rollout's own
        except Exception as error:
            why = f"it cannot be judged now: {error}"
            self._fault("rollout_faults", f"{record.release} in {record.region}: {why}")
            if record.why != why:
                with self._database.write() as connection:
                    rollouts.waits(connection, record, why)

    def _try_to_sign(self, region: str, now: float) -> None:
        """Sign what one region should run; a fault there is counted, and keeps no other region from its own."""
        try:
            self._sign(region, now)
        except Unavailable:
            raise
        except Exception as error:
            self._fault("signing_faults", f"{region}: {error}")

    def _fault(self, name: str, reason: str) -> None:
        # Each turn meets it again: the log says it once, the counter every time.
        if self._counters.reasons().get(name) != reason[:500]:
            LOG.exception(reason)
        self._counters.add(name, reason=reason)

    def _advance(self, record: Record, now: float) -> None:
        found, counts = self.evidence(record)
        proven = sum(row.standing == "proven" for row in found)
        move = decide(record, counts, proven, now)
        with self._database.write() as connection:
            if move.kind == "wait":
                if move.why != record.why:
                    rollouts.waits(connection, record, move.why)
                return
            if record not in rollouts.current(connection, record.region):
                return  # somebody moved it while we looked
            rollouts.move(
                connection,
                record,
                kind=move.kind,
                status=move.status(record.status),
                stage=move.stage(record.stage),
                why=move.why,
                now=now,
            )
        LOG.info("%s in %s: %s, because %s", record.release, record.region, move.kind, move.why)

    def _sign(self, region: str, now: float) -> None:
        records = self.current(region)
        before = self._repository.rollout(region)
        if not records:
            return
        listed = {ref.sha256 for ref in self._repository.releases().values()}
        document = documents.wish(region, records, before, self._config.policy(region), _time(now), listed)
        if document is None:
            return
        for row in before.assignments if before is not None else ():
            if row.release.sha256 not in listed:
                name = release_of_path(row.release.path)
                self._counters.add("unlisted", reason=f"{name} is not listed any more and was left out in {region}")
        self._signer.sign_rollout(document, _time(now))
        LOG.info("signed number %d for %s", document.serial, region)
        self._on_signed()

    def _refresh(self, now: float) -> None:
        with self._database.write() as connection:
            releases.see(connection, self._repository.releases(), now)
        self._refreshed_s = now
        try:
            if self._signer.refresh(_time(now)):
                self._on_signed()
        except TrustError as error:  # as a clock that went back; rollouts go on being judged
            self._fault("refresh_faults", str(error))

    def _prune(self, now: float) -> None:
        keep = self._config.longest_keep
        gone = prune(
            self._database,
            windows_before_s=now - keep.windows_days * DAY_S,
            events_before_s=now - keep.events_days * DAY_S,
        )
        self._counters.add("windows_pruned", gone.windows)
        self._counters.add("events_pruned", gone.events)

    def _plan(self, checked: Checked, region: str) -> RegionPlan:
        with self._database.read() as connection:
            fleet = devices.every(connection, region)
            current = self._of_model(rollouts.current(connection, region), checked.manifest.model)
        base, _ = documents.base_of(checked.manifest.model, current, self._repository.rollout(region))
        policy = self._policy(checked.order, region)
        before = {row.release.sha256: row.release for row in (base, current.assignment if current else None) if row}
        # A release that was gone back from is none that a device keeps.
        if current is not None and current.status == "gone-back":
            before.pop(current.assignment.release.sha256, None)
        manifests = [self.manifest(ref) for ref in before.values()]
        return plan(region, checked.manifest, checked.assignment(), policy, fleet, base, manifests)

    def _policy(self, order: Order, region: str) -> Policy:
        return (order.policies or {}).get(region) or self._config.policy(region)

    @staticmethod
    def _of_model(records: tuple[Record, ...], model: str) -> Record | None:
        return next((record for record in records if record.model == model), None)

    def _by_hand(
        self, region: str, model: str | None, actor: str, kind: str, allowed: tuple[str, ...], why: str
    ) -> Record:
        after: dict[str, rollouts.Status] = {"pause": "paused", "resume": "running", "go-back": "gone-back"}
        with self._lock:
            records = [row for row in self.current(region) if model is None or row.model == model]
            if not records:
                what = f"of {model} " if model else ""
                raise NotFound(f"there is no rollout {what}in {region}. See: edgefleet rollout list")
            if len(records) > 1:
                raise Refused(
                    f"{region} has rollouts of {', '.join(row.model for row in records)}: say which with model"
                )
            record = records[0]
            if record.status not in allowed:
                raise Refused(
                    f"{record.release} in {region} is {record.status}; {kind} is for one that is {' or '.join(allowed)}"
                )
            if kind == "go-back" and record.status == "complete" and record.previous is None:
                raise Refused(f"{region} ran nothing before {record.release}, so there is nothing to go back to")
            now = self._clock.now()
            text = f"{actor}: {why}" if why else f"{actor} did it by hand"
            with self._database.write() as connection:
                rollouts.move(connection, record, kind=kind, status=after[kind], stage=record.stage, why=text, now=now)
                audit.add(connection, audit.AuditRow(now, actor, f"rollout.{kind}", region, record.release, text))
            self._sign(region, now)
        self.look()
        return self._of_model(self.current(region), record.model) or record


def _newest_number(known: Device | None) -> int:
    """Return the highest number that the server gave to the device.

    A database restored from a backup may have forgotten some, so what the device holds counts too, within belief: a
    device that claims an absurd number could not be assigned ever again.
    """
    if known is None:
        return 0
    said = known.state.assignment_number if known.state else 0
    return max(known.assigned_number, said if said <= known.assigned_number + ASSIGNMENTS_AHEAD else 0)


def _left_out(row: RegionPlan) -> str:
    said = ", ".join(f"{left.device}: {left.why}" for left in row.left_out[:5])
    return f" ({said})" if said else ""


def _time(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
