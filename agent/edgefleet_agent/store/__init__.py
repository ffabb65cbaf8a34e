"""What survives a power cut: facts, chunks, slots and the outbox, below one folder."""

from pathlib import Path

from .chunks import Chunks
from .counters import CounterStore
from .disk import Disk
from .engines import Engines
from .facts import FactStore
from .outbox import Connect, Outbox, connect_sqlite
from .releases import Releases


class Store:
    """Everything durable. Opening it removes what a cut left half done."""

    def __init__(self, disk: Disk, state: Path, connect: Connect = connect_sqlite) -> None:
        self.disk, self.state = disk, state
        for name in ("documents", "chunks", "slots", "outbox"):
            disk.mkdir(state / name)
        # Their names become durable with the first fact: it is written into the same folder at every start.
        self.facts = FactStore(disk, state)
        self.counters = CounterStore(disk, state)
        self.chunks = Chunks(disk, state / "chunks")
        self.releases = Releases(disk, state / "slots")
        self.engines = Engines(disk, state / "engines")
        self.outbox = Outbox(disk, state / "outbox", connect)
