"""A device whose clock is at 1970 lost its cache too, and is given a state that expired long ago by signed time."""

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from edgefleet_agent.seams import Memory
from edgefleet_protocol.trust import rollouts_role
from tests.attacks.report import must
from tests.attacks.scene import DAY, WEST, Scene

EXPECTED = "the fresh state believed at 1970, the frozen one refused by the floor of signed time"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def run(folder: Path) -> str:
    """Sign 200 days on; keep nothing but the floor; replay today."""
    scene = Scene(folder)
    world, frozen = scene.world, dict(scene.world.held)
    later = world.now + 200 * DAY
    for role, days in (("timestamp", 7), ("snapshot", 30), (rollouts_role(WEST), 30)):
        world.expire(role, later + days * DAY)
    world.online_round(rollouts_role(WEST), issued=later)
    scene.device.now = EPOCH
    scene.believes("the fresh state at 1970")
    memory = scene.device.memory
    must(memory.floor == later, f"the floor is {memory.floor}, not the signed time")
    lost = Memory(floor=memory.floor, floor_keyids=memory.floor_keyids)
    scene.device = replace(scene.device, cache={}, memory=lost)
    scene.world.held = frozen
    reason = scene.refuses("the frozen state", "signed time")
    return f"at 1970: {reason}"
