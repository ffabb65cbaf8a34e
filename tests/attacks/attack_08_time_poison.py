"""A thief of the online keys signs times of the future, so that everything honest looks expired afterwards."""

from datetime import datetime, timezone
from pathlib import Path

from edgefleet_protocol.trust import rollouts_role
from tests.attacks.report import must
from tests.attacks.scene import DAY, WEST, Scene

EXPECTED = "2099 is refused by the offline roles' own expiry; +300 days is healed by a new timestamp key"
ROLLOUTS = rollouts_role(WEST)


def run(folder: Path) -> str:
    """Sign 2099, then +300 days; then rotate the timestamp key."""
    scene = Scene(folder)
    world, device = scene.world, scene.device
    scene.believes("the honest state")
    floor = device.memory.floor
    far = datetime(2099, 1, 1, tzinfo=timezone.utc)
    for role in ("timestamp", "snapshot", ROLLOUTS):
        world.expire(role, far + 30 * DAY)
    world.online_round(ROLLOUTS, issued=far)
    scene.refuses("issued in 2099", "signed time")
    must(device.memory.floor == floor, "a refused look moved the floor")
    world.online_round(issued=far + 60 * DAY)
    scene.refuses("issued after its own expiry", "after its expiry", "signed time")
    for role in ("timestamp", "snapshot", ROLLOUTS):
        world.expire(role, world.now + 320 * DAY)
    world.online_round(ROLLOUTS, issued=world.now + 300 * DAY)
    scene.believes("issued in 300 days: offline roles live for a year, so this cannot be told from the truth")
    for role, days in (("timestamp", 7), ("snapshot", 30), (ROLLOUTS, 30)):
        world.expire(role, world.now + days * DAY)
    world.online_round(ROLLOUTS)
    scene.refuses("the honest state after the poison", "signed time")
    world.rotate("timestamp")
    world.online_round()
    scene.believes("the honest state under a new timestamp key")
    must(device.memory.floor == world.now, f"the floor is still {device.memory.floor}")
    return "2099 refused, +300 days poisoned the device, the rotation of the timestamp key healed it"
