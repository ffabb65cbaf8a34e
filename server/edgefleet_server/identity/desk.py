"""The desk behind the door: looks up what the rules need, asks them, and keeps and audits what they say."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from edgefleet_trust.errors import TrustError

from ..errors import ServerError
from ..ingest.counters import Counters
from ..seams import Clock
from ..store import audit, devices, enrol_tokens, enrolments, identities
from ..store.database import Connection, Database
from ..store.enrolments import Enrolment
from ..store.identities import IdentityRow
from . import rules
from .authority import Authority, Issued
from .csr import Asked, read_csr
from .refusal import TurnedAway, forbidden
from .tokens import Token, hashed

LOG = logging.getLogger(__name__)

REFUSALS_AN_HOUR = 200
"""Refusals that are written down; beyond it they are only counted, so that nobody fills the disk from outside."""

Assign = Callable[[str, str, tuple[str, ...], str], object]
"""(device, region, tags, actor): say where a device belongs."""


@dataclass(frozen=True)
class Given:
    """A certificate, PEM."""

    certificate: str


@dataclass(frozen=True)
class Later:
    """Not yet. `why` says what it waits for."""

    why: str


class Desk:
    """Lets devices in and renews their certificates. Safe to use from several threads."""

    def __init__(
        self,
        authority: Authority,
        database: Database,
        clock: Clock,
        counters: Counters,
        assign: Assign,
        on_crl: Callable[[], None] = lambda: None,
    ) -> None:
        """on_crl: called after a new revocation list lies in the folder: the broker must read it."""
        self._authority, self._database, self._clock = authority, database, clock
        self._counters, self._assign, self._on_crl = counters, assign, on_crl
        self._lock = threading.Lock()
        self._hour, self._written = 0, 0

    def enrol(self, csr: bytes, password: str, label: str | None, peer: str) -> Given | Later:
        """Return the answer to a request with a token; raise TurnedAway. peer: the address, for the audit."""
        with self._lock:
            now = self._clock.now()
            asked = self._read(csr, peer, now)
            with self._database.write() as connection:
                seen = _knocking(connection, asked, hashed(password))
                step = rules.enrol(asked, label, seen, now)
                token = seen.token
                if token is None or isinstance(step, rules.Refuse):
                    answer: Given | Later | rules.Refuse = step if isinstance(step, rules.Refuse) else _LOST
                else:
                    answer = self._obey(connection, step, asked, token, seen.mine, now)
            who = f"token {token.id}" if token else "a stranger"
            if isinstance(answer, rules.Refuse):
                raise self._turned_away("device.enrol", who, asked.device, answer, peer, now)
            if token is not None and isinstance(step, rules.Issue):
                self._assign_to(asked.device, token.region, token.tags, who)
            return answer

    def renew(self, csr: bytes, serial: str, peer: str) -> Given:
        """Return the answer to a request that came with the certificate `serial`; raise TurnedAway."""
        with self._lock:
            now = self._clock.now()
            asked = self._read(csr, peer, now)
            with self._database.write() as connection:
                mine = identities.find(connection, serial)
                next_one = identities.successor(connection, serial)
                of_key = identities.of_key(connection, asked.key_sha256)
                step = rules.renew(asked, mine, next_one, of_key, now)
                if mine is not None and isinstance(step, rules.Issue):
                    identities.confirm(connection, serial, now)
                    given = self._issue(connection, asked, mine.region, step.ends, now, replaces=serial)
                    deed = audit.AuditRow(now, mine.device, "device.renew", mine.region, mine.device, given.serial)
                    audit.add(connection, deed)
                    return Given(given.pem)
            if isinstance(step, rules.Again):
                return Given(step.certificate)
            refused = step if isinstance(step, rules.Refuse) else _LOST
            name = mine.device if mine else "a stranger"
            if refused.alarm:
                self._counters.add("identities_copied", reason=f"{name}: {refused.why}")
            raise self._turned_away("device.renew", name, asked.device, refused, peer, now)

    def confirmed(self, serial: str) -> IdentityRow:
        """Return the identity of a device that came with its certificate; raise TurnedAway when it is none that holds."""
        with self._lock:
            now = self._clock.now()
            with self._database.write() as connection:
                mine = identities.find(connection, serial)
                if mine is None or not mine.live or now > mine.not_after_s:
                    why = "not one that this server gave" if mine is None else "revoked" if not mine.live else "over"
                    raise forbidden(f"the certificate is {why}")
                identities.confirm(connection, serial, now)
                known = devices.find(connection, mine.device)
                token = enrol_tokens.find(connection, mine.token) if mine.token else None
            if known is None or known.assigned_number == 0:
                # The power went between the certificate and the assignment, or somebody forgot the device.
                self._assign_to(mine.device, mine.region, token.tags if token else (), f"token {mine.token}")
            return mine

    def _assign_to(self, device: str, region: str, tags: tuple[str, ...], actor: str) -> None:
        try:
            self._assign(device, region, tags, actor)
        except (ServerError, TrustError, OSError) as error:
            # The device has its identity all the same; when it comes with it, the assignment is tried again.
            LOG.warning("%s is enrolled and was not assigned to %s: %s", device, region, error)

    def _read(self, csr: bytes, peer: str, now: float) -> Asked:
        try:
            return read_csr(csr)
        except TurnedAway as error:
            self._write_refusal("device.enrol", "a stranger", "a request", str(error), peer, now)
            raise

    def _obey(
        self, connection: Connection, step: rules.Step, asked: Asked, token: Token, mine: Enrolment | None, now: float
    ) -> Given | Later:
        if isinstance(step, rules.Again):
            return Given(step.certificate)
        row = Enrolment(
            token=token.id,
            public_key=asked.key_sha256,
            device=asked.device,
            hardware_serial=asked.hardware_serial,
            region=token.region,
            status="waiting",
            first_s=mine.first_s if mine else now,
            last_s=now,
        )
        actor = f"token {token.id}"
        if isinstance(step, rules.Wait):
            enrolments.put(connection, row)
            if mine is None:
                board = f", board {asked.hardware_serial}" if asked.hardware_serial else ""
                words = f"waits for approval{board}, key {asked.key_sha256[:16]}"
                audit.add(connection, audit.AuditRow(now, actor, "device.enrol", token.region, asked.device, words))
            return Later(step.why)
        assert isinstance(step, rules.Issue)
        issued = self._issue(connection, asked, token.region, step.ends, now, token=token.id)
        enrolments.put(connection, replace(row, status="issued"))
        words = f"certificate {issued.serial}" + (f", ends {', '.join(step.ends)}" if step.ends else "")
        audit.add(connection, audit.AuditRow(now, actor, "device.enrol", token.region, asked.device, words))
        return Given(issued.pem)

    def _issue(
        self,
        connection: Connection,
        asked: Asked,
        region: str,
        ends: tuple[str, ...],
        now: float,
        *,
        replaces: str | None = None,
        token: str | None = None,
    ) -> Issued:
        at = datetime.fromtimestamp(now, timezone.utc)
        issued = self._authority.issue(asked, asked.device, region, at)
        if ends:
            # The list first: a row that says "revoked" while the broker still takes the certificate would be forgotten.
            self._authority.revoke_all(ends, at)
            self._on_crl()
        for serial in ends:
            identities.revoke(connection, serial, now)
        row = IdentityRow(
            serial=issued.serial,
            device=asked.device,
            public_key=asked.key_sha256,
            region=region,
            issued_s=now,
            not_after_s=issued.not_after.timestamp(),
            certificate=issued.pem,
            replaces=replaces,
            token=token,
        )
        identities.add(connection, row)
        return issued

    def _turned_away(
        self, action: str, actor: str, device: str, step: rules.Refuse, peer: str, now: float
    ) -> TurnedAway:
        self._write_refusal(action, actor, device, step.why, peer, now)
        return TurnedAway(step.status, step.why)

    def _write_refusal(self, action: str, actor: str, device: str, why: str, peer: str, now: float) -> None:
        self._counters.add("enrolments_refused", reason=f"{device}: {why}")
        if (hour := int(now // 3600)) != self._hour:
            self._hour, self._written = hour, 0
        self._written += 1
        if self._written <= REFUSALS_AN_HOUR:
            with self._database.write() as connection:
                outcome = f"refused: {why} (from {peer})"
                audit.add(connection, audit.AuditRow(now, actor, action, None, device, outcome))


_LOST = rules.Refuse("the request cannot be answered", 400)


def _knocking(connection: Connection, asked: Asked, sha256: str) -> rules.Knocking:
    token = enrol_tokens.by_hash(connection, sha256)
    if token is None:
        return rules.Knocking(None)
    others = [row for row in enrolments.waiting(connection, asked.device) if row.public_key != asked.key_sha256]
    board, rows = asked.hardware_serial, identities.of_device(connection, asked.device)
    return rules.Knocking(
        token=token,
        used=enrolments.used(connection, token.id),
        mine=enrolments.find(connection, token.id, asked.key_sha256),
        waiting=others[0] if others else None,
        board=enrolments.of_board(connection, token.id, board) if board and token.allowed else None,
        holder=rows[0] if rows else None,
        live=tuple(row.serial for row in rows if row.live),
        of_key=identities.of_key(connection, asked.key_sha256),
    )
