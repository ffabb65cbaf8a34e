"""Regions as people handle them: apply, plan, compare, freeze. What devices hear of it is the next signed rollout document."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Policy, ReleaseRef
from edgefleet_protocol.trust import rollouts_role
from edgefleet_trust.errors import TrustError

from ..config import ServerConfig
from ..errors import BadRequest, NotFound, Refused
from ..keeping import WindowsKept, windows_kept
from ..rollouts.predict import Predictor
from ..seams import Clock, Repository
from ..store import audit, devices, regions, rollouts
from ..store.database import Connection, Database
from ..store.devices import Device
from ..store.regions import RegionVersion
from ..store.rollouts import Record
from .assigning import freeze_words
from .current import settings_of
from .settings import Change, RegionSettings, differences, read
from .zones import is_known

TRIES = 3


@dataclass(frozen=True)
class Follows:
    """A rollout of the region, and whether the new policy holds for it."""

    release: str
    status: str
    follows: bool
    why: str


@dataclass(frozen=True)
class Moves:
    """So many devices of a class that would choose another variant of a release under the new policy."""

    release: str
    hardware_class: str
    before: str
    after: str
    devices: int


@dataclass(frozen=True)
class RegionEffect:
    """What applying settings does in one region: said before it is done, and again when it was."""

    region: str
    version: int
    """The number that they have, or would have; that of now when nothing differs."""
    changes: tuple[Change, ...]
    rollouts: tuple[Follows, ...]
    moves: tuple[Moves, ...]
    devices: int
    reaches: str
    """When and by what devices hear of it."""
    kept: str
    """For how long windows are kept then, and which setting says so."""


class Regions:
    """Reads and changes regions. `keyids(role)`: ids of the keys that the repository lets sign for a role."""

    def __init__(
        self,
        database: Database,
        repository: Repository,
        config: ServerConfig,
        clock: Clock,
        manifest: Callable[[ReleaseRef], Release],
        keyids: Callable[[str], Sequence[str]],
        on_change: Callable[[], None],
    ) -> None:
        self._database, self._repository, self._config, self._clock = database, repository, config, clock
        self._manifest, self._keyids, self._on_change = manifest, keyids, on_change

    def names(self) -> tuple[str, ...]:
        """Return the regions that there are."""
        return tuple(self._repository.regions())

    def check(self, region: str) -> None:
        """Raise NotFound for a region that is none."""
        if region not in self.names():
            raise NotFound(
                f"there is no region {region}. There are: {', '.join(self.names()) or 'none'}. A new one is added by the "
                "offline keys"
            )

    def settings(self, region: str) -> tuple[RegionSettings, RegionVersion | None]:
        """Return what holds there now, and the version that says so; None where server.toml does, or nothing."""
        self.check(region)
        with self._database.read() as connection:
            return settings_of(connection, region, self._config), regions.current(connection, region)

    def version(self, region: str, number: int) -> RegionVersion:
        """Return one version."""
        self.check(region)
        with self._database.read() as connection:
            found = regions.find(connection, region, number)
            newest = regions.current(connection, region)
        if found is None:
            last = f"the newest is {newest.version}" if newest else "none was applied yet"
            raise NotFound(f"{region} has no version {number}: {last}")
        return found

    def history(self, region: str, limit: int, before: int | None = None) -> tuple[RegionVersion, ...]:
        """Return versions, newest first."""
        self.check(region)
        with self._database.read() as connection:
            return regions.history(connection, region, limit, before)

    def kept(self, region: str, settings: RegionSettings) -> WindowsKept:
        """Return for how long the region's windows are kept under these settings, and why."""
        keep, own = self._config.keep, self._config.region_keeps
        return windows_kept(keep, own, region, settings.telemetry.keep_days)

    def frozen(self) -> dict[str, str]:
        """Return for each frozen region who froze it, and why."""
        with self._database.read() as connection:
            return regions.freezes(connection)

    def plan(self, wanted: Mapping[str, Mapping[str, Any]]) -> tuple[RegionEffect, ...]:
        """Return what applying would do; raise as `apply` would."""
        read_all = self._read_all(wanted)
        with self._database.read() as connection:
            return tuple(self._effect(connection, region, row, planned=True) for region, row in read_all.items())

    def apply(
        self, wanted: Mapping[str, Mapping[str, Any]], actor: str, why: str = "", if_version: int | None = None
    ) -> tuple[RegionEffect, ...]:
        """Make these the newest versions, in all of the regions or, when one of them is refused, in none.

        if_version: refused when a region's newest is another one: somebody was quicker.
        """
        read_all = self._read_all(wanted)
        for _ in range(TRIES):
            # What it does to a large fleet takes seconds to say: not in the transaction, in which nobody else can write.
            with self._database.read() as connection:
                found = {region: regions.current(connection, region) for region in read_all}
                for region in read_all:
                    _check_version(region, found[region], if_version)
                effects = tuple(
                    self._effect(connection, region, row, planned=False) for region, row in read_all.items()
                )
            if self._store(read_all, found, effects, actor, why):
                self._on_change()
                return effects
        raise Refused(
            f"somebody else applies {', '.join(read_all)} at the same time, so nothing was changed: try again"
        )

    def _store(
        self,
        read_all: Mapping[str, RegionSettings],
        found: Mapping[str, RegionVersion | None],
        effects: Sequence[RegionEffect],
        actor: str,
        why: str,
    ) -> bool:
        """Keep new versions over those that were found; return False, with nothing kept, where others have come since."""
        now = self._clock.now()
        with self._database.write() as connection:
            if any(regions.current(connection, region) != found[region] for region in read_all):
                return False
            for effect in effects:
                region, settings = effect.region, read_all[effect.region]
                # What server.toml said is no version: the first one is kept even when it says the same.
                if not effect.changes and found[region] is not None:
                    continue
                before = settings_of(connection, region, self._config)
                number = regions.add(connection, region, settings, actor, why, now)
                self._follow(connection, region, before.policy, settings.policy)
                said = ", ".join(change.key for change in effect.changes) or "as server.toml said"
                text = f"version {number}: {said}{f' ({why})' if why else ''}"
                audit.add(connection, audit.AuditRow(now, actor, "region.apply", region, region, text))
        return True

    def freeze(self, names: Sequence[str], actor: str, why: str) -> tuple[str, ...]:
        """Freeze whole regions; return those that were not yet."""
        return self._freeze(names, actor, why, freeze=True)

    def thaw(self, names: Sequence[str], actor: str, why: str) -> tuple[str, ...]:
        """End that; return those that were frozen."""
        return self._freeze(names, actor, why, freeze=False)

    def _freeze(self, names: Sequence[str], actor: str, why: str, *, freeze: bool) -> tuple[str, ...]:
        for region in names:
            self.check(region)
        now, changed = self._clock.now(), []
        with self._database.write() as connection:
            frozen = regions.freezes(connection)
            for region in dict.fromkeys(names):
                if (region in frozen) == freeze:
                    continue
                if freeze:
                    regions.freeze(connection, region, freeze_words(actor, why), now)
                else:
                    regions.thaw(connection, region, now)
                text = f"{'frozen' if freeze else 'thawed'}: {why or 'no reason given'}"
                audit.add(connection, audit.AuditRow(now, actor, "region.freeze", region, region, text))
                changed.append(region)
        self._on_change()
        return tuple(changed)

    def _read_all(self, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, RegionSettings]:
        found = {}
        for region, rows in wanted.items():
            self.check(region)
            found[region] = settings = read(region, rows)
            if (zone := settings.policy.timezone) is not None and not is_known(zone):
                raise BadRequest(
                    f"regions.{region}.policy.timezone is {zone}, which is no time zone: write one as Europe/Berlin or UTC"
                )
            if (key := settings.online_key) is not None:
                role = rollouts_role(region)
                signs = self._keyids(role)
                if not any(one.startswith(key) for one in signs):
                    raise Refused(
                        f"regions.{region}.online_key is {key}, and the repository lets {', '.join(one[:8] for one in signs) or 'nobody'} "
                        f"sign {role}: rotate the key with edgefleet trust, or correct the setting"
                    )
        return found

    def _effect(self, connection: Connection, region: str, after: RegionSettings, *, planned: bool) -> RegionEffect:
        newest, before = regions.current(connection, region), settings_of(connection, region, self._config)
        changes = differences(before, after)
        records = [row for row in rollouts.current(connection, region) if row.status != "gone-back"]
        follows = tuple(_follows(row, before.policy, after.policy) for row in records)
        fleet = devices.every(connection, region)
        number = newest.version if newest else 0
        same = not changes and newest is not None
        moves: tuple[Moves, ...] = ()
        if before.policy != after.policy:
            followed = [row for row, fact in zip(records, follows, strict=True) if fact.follows]
            moves = tuple(move for row in followed for move in self._moves(fleet, row, after.policy))
        return RegionEffect(
            region=region,
            version=number if same else number + 1,
            changes=changes,
            rollouts=follows,
            moves=moves,
            devices=len(fleet),
            reaches=self._reaches(region, before, after, follows, planned),
            kept=self.kept(region, after).words,
        )

    def _moves(self, fleet: Sequence[Device], record: Record, after: Policy) -> list[Moves]:
        """Return which devices that take the record's release would choose otherwise, by the very function that they choose by.

        None for a release that cannot be read now: that is no reason to refuse a policy.
        """
        ref, signed = record.assignment.release, self._repository.rollout(record.region)
        try:
            release = self._manifest(ref)
        except (TrustError, ProtocolError):
            return []
        # What classes measured, as the devices were told it with what they run.
        told = next((row.measured for row in signed.assignments if row.release == ref), ()) if signed else ()
        now, then = (Predictor(release, ref.sha256, policy, told) for policy in (record.policy, after))
        counted = Counter[tuple[str, str, str]]()
        for device in fleet:
            state = device.model(record.model)
            if device.hardware is None or state is None or state.wanted_sha256 != ref.sha256:
                continue
            names = [
                choice.taken.name if choice is not None and choice.taken else "none"
                for choice in (now(device), then(device))
            ]
            if names[0] != names[1]:
                counted[device.hardware.hardware_class, names[0], names[1]] += 1
        return [Moves(record.release, *key, devices=count) for key, count in sorted(counted.items())]

    def _reaches(
        self, region: str, before: RegionSettings, after: RegionSettings, follows: Sequence[Follows], planned: bool
    ) -> str:
        if before.policy == after.policy:
            return "devices hear nothing: their policy stays what it is"
        signed = self._repository.rollout(region)
        if any(row.follows for row in follows):
            serial = signed.serial + 1 if signed else 1
            return f"devices {'would hear' if planned else 'hear'} of it with rollout document {serial}, which is signed at once"
        if follows:
            return "devices hear of it when a rollout starts that brings no policy of its own"
        return "devices hear of it with the first rollout of the region"

    def _follow(self, connection: Connection, region: str, before: Policy, after: Policy) -> None:
        """Rollouts that run under the region's policy run under the new one from now on, and so do their ways back."""
        if before == after:
            return
        records, data = rollouts.current(connection, region), msgspec.json.encode(after)
        regions.put_policy(connection, [row.id for row in records if row.policy == before], data)
        back = [row.id for row in records if row.previous_policy == before]
        regions.put_previous_policy(connection, back, data)


def _check_version(region: str, newest: RegionVersion | None, if_version: int | None) -> None:
    found = newest.version if newest else 0
    if if_version is not None and found != if_version:
        by = f", made by {newest.actor}" if newest else ""
        raise Refused(
            f"{region} is at version {found}{by}, and this was made from version {if_version}: see "
            f"edgefleet region diff {region}, and apply it anew"
        )


def _follows(record: Record, before: Policy, after: Policy) -> Follows:
    if record.policy == before:
        return Follows(record.release, record.status, True, "runs under the region's policy")
    if record.policy == after:
        return Follows(record.release, record.status, True, "its own policy says the same")
    return Follows(
        record.release, record.status, False, "brought a policy of its own, and keeps it until the next rollout"
    )
