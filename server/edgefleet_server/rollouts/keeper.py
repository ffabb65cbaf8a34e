"""Where devices belong, and those that are gone or were in quarantine."""

from edgefleet_protocol.names import check_label
from edgefleet_protocol.rollout import DeviceAssignment
from edgefleet_protocol.topics import Kind, Topics

from ..errors import NotFound, Refused
from ..regions.assigning import Place, issue
from ..seams import Clock, Repository, Signer
from ..store import audit, devices, events, retained
from ..store.database import Database

HEARD_LATELY_S = 600.0


class Keeper:
    """Says where a device belongs. Its caller sees to it that only one does so at a time."""

    def __init__(self, repository: Repository, signer: Signer, database: Database, clock: Clock) -> None:
        self._repository, self._signer, self._database, self._clock = repository, signer, database, clock

    def assign(self, device: str, region: str, tags: tuple[str, ...], actor: str) -> DeviceAssignment:
        """Say where a device belongs: numbered, signed, and retained for it."""
        check_label("device", device)
        for tag in tags:
            check_label("tag", tag)
        if region not in self._repository.regions():
            raise NotFound(f"there is no region {region}. There are: {', '.join(self._repository.regions()) or 'none'}")
        now = self._clock.now()
        with self._database.write() as connection:
            known = devices.find(connection, device)
            if known is not None and known.alarm is not None:
                raise Refused(
                    f"{device} is in quarantine: {known.alarm.why}. See: edgefleet device clear-alarm {device} --help"
                )
            place = Place(region, tags, known.frozen if known else "")
            document = issue(connection, self._signer, device, known, place, now)
            text = f"number {document.number}: {region} {' '.join(tags)}".strip()
            audit.add(connection, audit.AuditRow(now, actor, "device.assign", region, device, text))
        return document

    def forget(self, device: str, actor: str, *, force: bool) -> None:
        """Remove a device: what it said, its assignment, and what the broker retains of it.

        Raises NotFound for one that is not known, Refused, unless forced, for one that was heard of lately: it would be
        back at its next word, without its assignment.
        """
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

    def clear_alarm(self, device: str, actor: str, why: str) -> None:
        """Take a device out of quarantine: its owner says that one copy is left.

        What spoke last is believed from now on; should the other one speak again, the alarm is raised anew. Raises NotFound,
        or Refused for a device that is not in quarantine.
        """
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
