"""Who holds the broker gives out the same state for ever: the expiry of each role ends that."""

from datetime import datetime
from pathlib import Path

from edgefleet_protocol.trust import rollouts_role
from tests.attacks.report import must
from tests.attacks.scene import DAY, WEST, Scene
from tests.fakes.signed_world import World

EXPECTED = "refused as expired when the first role ends, each role's own expiry too; what was believed stays"


def run(folder: Path) -> str:
    """Freeze by the clock; then let each role alone have expired."""
    scene = Scene(folder)
    world = scene.world
    looked = scene.believes("the honest state")
    must(looked.expires == world.roles["timestamp"].signed.expires, "the device does not know when it ends")
    scene.device.now = world.now + 8 * DAY
    scene.refuses("frozen for 8 days", "expired: timestamp")
    scene.device.now = world.now
    roles = ("root", "timestamp", "snapshot", "targets", "keys", "releases", rollouts_role(WEST))
    for role in roles:
        right = world.roles[role].signed.expires
        # By the machine's clock, which python-tuf judges by, and by the device's, which the agent's own check adds.
        for ends, now in ((world.now - DAY, world.now), (world.now + DAY, world.now + 2 * DAY)):
            _sign(world, role, ends)
            device = scene.new_device()
            device.now = now
            scene.refuses(f"{role} ended", "expired", device=device)
        _sign(world, role, right)
    scene.believes("the honest state")
    return f"{len(roles)} roles refused as expired, by either clock"


def _sign(world: World, role: str, ends: datetime) -> None:
    """Sign `role` anew with another end, and all that names it."""
    world.expire(role, ends)
    if role == "root":
        world.rotate("snapshot")
    world.online_round(*(() if role in ("root", "timestamp", "snapshot") else (role,)))
