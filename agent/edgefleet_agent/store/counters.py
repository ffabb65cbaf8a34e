"""What must never be counted twice: starts of the agent, and commands. A small document of its own, so that damaged facts
lose neither."""

import secrets
from pathlib import Path

import msgspec

from edgefleet_protocol.messages import MAX_STARTS

from . import durable
from .disk import Disk

NAME = "counters.json"


class Counters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """As `DeviceState` tells them."""

    starts: tuple[str, ...] = ()
    epoch: str = ""
    number: int = 0


class CounterStore:
    """Reads and writes the document. `problem` says what was found damaged, or nothing."""

    def __init__(self, disk: Disk, state: Path) -> None:
        self._disk, self._path = disk, state / NAME
        self.problem = ""
        self.counters = self._read()

    def _read(self) -> Counters:
        if self._disk.size(self._path) is None:
            return Counters()
        try:
            return msgspec.json.decode(self._disk.read(self._path), type=Counters)
        except (msgspec.MsgspecError, OSError, UnicodeDecodeError) as error:
            self.problem = f"{NAME} could not be read ({error}); it was set aside, and commands are counted anew"
            self._disk.rename(self._path, self._path.with_name(NAME + ".bad"))
            return Counters()

    def begin(self) -> None:
        """Count one more start, before anything is told of it. Where no epoch is known, a new one begins: a counter that
        was lost must not obey again what it has obeyed.

        On a full disk the start is known in memory only: to the server the next one then goes on from an older start.
        """
        known = self.counters
        starts = (*known.starts, secrets.token_hex(8))[-MAX_STARTS:]
        fresh = Counters(starts=starts, epoch=known.epoch or secrets.token_hex(8), number=known.number)
        try:
            self._put(fresh)
        except OSError:
            self.counters = fresh

    def obeyed(self, number: int) -> None:
        """Make durable that commands up to `number` are done with; raise OSError when the disk does not take it."""
        self._put(msgspec.structs.replace(self.counters, number=number))

    def _put(self, counters: Counters) -> None:
        durable.write(self._disk, self._path, msgspec.json.encode(counters))
        self.counters = counters
