"""`edgefleet trust status`: who must sign what, how long it is still valid, and what to worry about."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Key

from .commit import CLOCK_SLACK, last_issued
from .current import Current
from .holders import holder
from .repository import Repository
from .roles import WARN, is_online, stamp


@dataclass(frozen=True)
class RoleStatus:
    """One role as it stands."""

    role: str
    version: int
    expires: datetime
    days_left: int
    threshold: int
    keyids: tuple[str, ...]
    holders: tuple[str, ...] = ()
    """Their names, or the start of a key's id."""


@dataclass(frozen=True)
class Status:
    """The whole repository as it stands."""

    fleet: str
    regions: tuple[str, ...]
    roles: tuple[RoleStatus, ...]
    releases: dict[str, str]
    """Digest by name."""
    rollouts: dict[str, int]
    """Serial of the current rollout by region; 0 where none was signed."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        rows = [{**asdict(row), "expires": stamp(row.expires)} for row in self.roles]
        return {**asdict(self), "roles": rows}


def read_status(repository: Repository, now: datetime) -> Status:
    """Return how the repository stands at `now`."""
    current = repository.current()
    roles = _roles(current, now)
    releases = {name: ref.sha256 for name, ref in sorted(current.releases().items())}
    rollouts = {}
    for region in repository.regions():
        rollout = repository.rollout(region)
        rollouts[region] = rollout.serial if rollout is not None else 0
    rotten = tuple(f"left out of what is published: {text}" for text in repository.rotten())
    warnings = (*_clock_warnings(current, now), *_warnings(roles, now), *rotten)
    return Status(repository.fleet, repository.regions(), roles, releases, rollouts, warnings)


def _clock_warnings(current: Current, now: datetime) -> tuple[str, ...]:
    last = last_issued(current)
    if last is None or last - now <= CLOCK_SLACK:
        return ()
    return (
        f"the newest signature is of {stamp(last)} and this machine's clock says {stamp(now)}: nothing is signed until the "
        "clock has passed it. Devices that saw it take no earlier time; if that clock was wrong, see the trust README",
    )


def _roles(current: Current, now: datetime) -> tuple[RoleStatus, ...]:
    rows = []
    for name in ("root", "targets", "snapshot", "timestamp"):
        signed = {"root": current.root, "snapshot": current.snapshot, "timestamp": current.timestamp}.get(name)
        body = signed if signed is not None else current.roles["targets"]
        owner = current.root.roles[name]
        keys = [current.root.keys[keyid] for keyid in owner.keyids]
        rows.append(_row(name, body.version, body.expires, owner.threshold, keys, now))
    delegations = current.roles["targets"].delegations
    for name, role in ((delegations.roles if delegations is not None else None) or {}).items():
        body = current.roles[name]
        assert delegations is not None
        keys = [delegations.keys[keyid] for keyid in role.keyids]
        rows.append(_row(name, body.version, body.expires, role.threshold, keys, now))
    return tuple(rows)


def _row(name: str, version: int, expires: datetime, threshold: int, keys: list[Key], now: datetime) -> RoleStatus:
    ordered = sorted(keys, key=lambda key: key.keyid)
    return RoleStatus(
        role=name,
        version=version,
        expires=expires,
        days_left=(expires - now) // timedelta(days=1),
        threshold=threshold,
        keyids=tuple(key.keyid for key in ordered),
        holders=tuple(holder(key) for key in ordered),
    )


def _warnings(roles: tuple[RoleStatus, ...], now: datetime) -> list[str]:
    out = []
    alone = [row.role for row in roles if not is_online(row.role) and len(row.keyids) == 1]
    if alone:
        out.append(
            f"one key alone signs {', '.join(alone)}: whoever steals it can release anything, and if it is lost nothing "
            "can be signed any more. Keep a copy apart, and add holders before this fleet matters"
        )
    for row in roles:
        if is_online(row.role) or len(row.keyids) == 1:
            continue
        if row.threshold == len(row.keyids):
            out.append(
                f"{row.role} needs every one of {', '.join(row.holders)}: one more loss and nothing can be signed. Add a "
                "holder with `edgefleet trust rotate`"
            )
        if row.threshold == 1:
            out.append(f"{row.role} trusts each person: any one of {', '.join(row.holders)} can sign alone")
    for row in roles:
        if row.expires <= now:
            out.append(f"{row.role} expired on {row.expires:%Y-%m-%d}: devices take no change until it is signed anew")
        elif row.days_left < WARN.get(row.role, WARN["snapshot"]):
            who = (
                "the server signs it anew"
                if is_online(row.role)
                else f"{row.threshold} of {', '.join(row.holders)} must sign it anew: edgefleet trust renew {row.role}"
            )
            out.append(f"{row.role} expires in {row.days_left} days: {who}")
    return out


def describe_status(status: Status) -> list[str]:
    """Return the status as lines for a terminal."""
    lines = [f"Fleet {status.fleet}, regions {', '.join(status.regions)}", ""]
    width = max(len(row.role) for row in status.roles)
    lines.append(f"{'role':<{width}}  version  expires     days  signatures  keys")
    for row in status.roles:
        lines.append(
            f"{row.role:<{width}}  {row.version:>7}  {row.expires:%Y-%m-%d}  {row.days_left:>4}  "
            f"{f'{row.threshold} of {len(row.keyids)}':<10}  {' '.join(row.holders)}"
        )
    lines += ["", "Listed releases:" if status.releases else "No release is listed yet."]
    lines += [f"  {name}  {digest}" for name, digest in status.releases.items()]
    lines.append(
        "Rollouts: " + ", ".join(f"{region} at {serial or 'none'}" for region, serial in status.rollouts.items())
    )
    lines += [f"WARNING: {text}" for text in status.warnings]
    return lines
