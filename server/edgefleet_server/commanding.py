"""Commands to devices: numbered in the epoch that the device told, signed, short-lived, kept with their answers."""

from collections.abc import Callable, Mapping, Sequence

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import MAX_COMMAND_S, Command
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import COMMAND_TYPE

from .command_check import check
from .errors import NotFound, Refused
from .seams import Clock, Signer
from .store import audit, commands, devices
from .store.commands import CommandRow
from .store.database import Database

DEFAULT_LIFE_S = 60.0
NAMES_ACTOR = ("pin", "rollback")


class Commander:
    """Sends commands. `publish(topic, payload)` sends at once; `connected` says whether it could."""

    def __init__(
        self,
        topics: Topics,
        signer: Signer,
        database: Database,
        clock: Clock,
        publish: Callable[[str, bytes], None],
        connected: Callable[[], bool],
    ) -> None:
        self._topics, self._signer, self._database, self._clock = topics, signer, database, clock
        self._publish, self._connected = publish, connected

    def send(self, device: str, action: str, arguments: Mapping[str, str], actor: str, life_s: float) -> CommandRow:
        """Sign and send a command; return it as it is kept.

        Raises NotFound for a device that is not known; Refused where it could not be obeyed: an agent that counts no
        commands, a device in quarantine, no broker; BadRequest for an argument that no device would obey. A command is not kept
        for later: it would be late.
        """
        check(action, arguments)
        if not self._connected():
            raise Refused(
                "the server has no connection to its broker, and a command that waits would be late: try again"
            )
        now = self._clock.now()
        if action in NAMES_ACTOR:  # the device tells it to its owner, so it must be true
            arguments = {**arguments, "by": actor[:64]}
        with self._database.write() as connection:
            known = devices.find(connection, device)
            if known is None:
                raise NotFound(f"no device {device} is known. See: edgefleet device list")
            if known.alarm is not None:
                raise Refused(f"{device} is in quarantine, and both copies would read a command: {known.alarm.why}")
            epoch = known.state.command_epoch if known.state else ""
            if known.state is None or not epoch:
                raise Refused(
                    f"{device} has not told how it counts commands: its agent is too old for them, or new here"
                )
            # Both: a database that was restored has forgotten numbers that the device obeyed.
            number = 1 + max(commands.last_number(connection, device, epoch), known.state.command_number)
            command = Command(
                device=device,
                number=number,
                epoch=epoch,
                session=known.session,
                expires_s=now + min(life_s, MAX_COMMAND_S),
                action=action,
                arguments=dict(arguments),
            )
            envelope = self._signer.sign_envelope(COMMAND_TYPE, encode(command))
            kept = commands.add(connection, command, actor, now)
            said = " ".join([action, *(f"{name}={value}" for name, value in sorted(arguments.items()))])
            audit.add(
                connection,
                audit.AuditRow(now, actor, "device.command", known.region, device, f"number {number}: {said}"),
            )
            row = commands.find(connection, device, kept)
        assert row is not None
        self._publish(self._topics.of_device(device, "command"), envelope)
        return row

    def send_each(
        self, names: Sequence[str], action: str, arguments: Mapping[str, str], actor: str, life_s: float
    ) -> tuple[tuple[CommandRow, ...], tuple[tuple[str, str], ...]]:
        """Send a command to each; return what was sent, and (device, why) for those that it could not be sent to."""
        check(action, arguments)
        sent, refused = [], []
        for name in names:
            try:
                sent.append(self.send(name, action, arguments, actor, life_s))
            except (Refused, NotFound) as error:
                refused.append((name, str(error)))
        return tuple(sent), tuple(refused)
