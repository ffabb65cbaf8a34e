"""One virtual device: the real agent, and around it a disk that survives and everything else that does not."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from edgefleet_agent.agent import Agent
from edgefleet_agent.config import Config, Limits
from edgefleet_agent.leases import LeaseFolder
from edgefleet_agent.rules.seen import Lease
from edgefleet_agent.seams import Looker
from edgefleet_agent.store import Store

from .boards import board_of
from .clock import DeviceClock
from .disk import MemoryDisk
from .launcher import VirtualLauncher
from .link import Line, VirtualLink
from .probe import VirtualProbe

STATE, ROOT = Path("/state"), Path("/root.json")


class NoLeases(LeaseFolder):
    """No application runs on a virtual device."""

    def prepare(self, model: str) -> None:
        """Nobody will write there."""

    def of(self, model: str) -> tuple[Lease, ...]:
        """None."""
        return ()


@dataclass
class Device:
    """`boot` starts the agent from the disk; `cut` takes the power. copy: which of the boards that bear this name it is."""

    number: int
    name: str
    fleet: str
    broker: tuple[str, int]
    root: bytes
    looker: Looker
    line: Line = field(default_factory=Line)
    clock_late_s: float = 0.0
    copy: int = 0
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    boots: int = 0
    agent: Agent | None = None
    link: VirtualLink | None = None
    served: set[str] = field(default_factory=set)
    """Every release that ever took real requests here."""

    def boot(self) -> None:
        """Start the agent from what is on the disk."""
        self.boots += 1
        self.disk.mkdir(STATE)
        self.disk.write(ROOT, self.root)
        board, dice = board_of(self.number), random.Random(f"{self.name} {self.copy} {self.boots}")
        machine = f"{0x10000000 + self.number:08x}{self.copy:08x}"
        self.link = VirtualLink(self.name, self.broker, self.line, time.monotonic, dice)
        config = Config(
            fleet=self.fleet, device=self.name, root=ROOT, state=STATE, limits=Limits(reserve_bytes=1_000_000)
        )
        self.agent = Agent(
            DeviceClock(f"{self.name}-{self.copy}-{self.boots}-{dice.getrandbits(32):08x}", self.clock_late_s),
            self.link,
            Store(self.disk, STATE),
            VirtualLauncher(self.disk, board.slowness, time.monotonic, self.served),
            VirtualProbe(self.number, board, machine, time.time),
            self.looker,
            config,
        )
        self.agent.leases = NoLeases(config.run, self.agent.clock)

    def cut(self) -> None:
        """Take the power: what is not on the disk is gone, and the broker finds out by itself."""
        if self.link is not None:
            self.link.tear()
        self.agent, self.link = None, None

    def clone(self) -> "Device":
        """Return another board that boots from a copy of this one's card."""
        return Device(
            self.number, self.name, self.fleet, self.broker, self.root, self.looker, self.line, self.clock_late_s,
            copy=self.copy + 1, disk=self.disk.copy(),
        )  # fmt: skip
