"""The real look at the signed repository, once for all devices that ask the same.

A device asks with what it has: its root, its cache, its rollback memory, and what came. Thousands of devices of one region
that got the same update ask the same question to the byte, and python-tuf's answer is a function of the question and the time.
So the answer is kept, for an hour's clock at most. What one look costs a device is measured on a device: `make bench NAME=footprint`.
"""

from pathlib import Path

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, LookRequest, Missing, Refused

KEPT = 512
HOUR_S = 3600


class SharedLooker:
    """Implements the agent's `Looker` for every device of one process."""

    def __init__(self, scratch: Path) -> None:
        self._real = InProcessLooker(scratch)
        self._answers: dict[object, Looked | Missing | Refused] = {}
        self.asked = self.looked = 0

    def look(self, request: LookRequest) -> Looked | Missing | Refused:
        """Return what may be obeyed."""
        self.asked += 1
        memory = request.memory
        key = (
            request.root,
            frozenset(request.cache.items()),
            frozenset(request.held.items()),
            frozenset(request.targets.items()),
            frozenset(memory.versions.items()),
            frozenset((role, tuple(ids)) for role, ids in memory.keyids.items()),
            memory.floor,
            memory.floor_keyids,
            request.region,
            int(request.now.timestamp()) // HOUR_S,
        )
        if key not in self._answers:
            if len(self._answers) >= KEPT:
                del self._answers[next(iter(self._answers))]
            self.looked += 1
            self._answers[key] = self._real.look(request)
        return self._answers[key]
