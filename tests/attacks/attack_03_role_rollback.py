"""With snapshot and timestamp keys, a delegated role goes back to an older version, or is dropped from the snapshot."""

from dataclasses import replace
from pathlib import Path

from tuf.api.metadata import Metadata

from tests.attacks.scene import WEST, Scene

EXPECTED = "each role's rollback and each drop refused"
ROLES = (f"rollouts-{WEST}", "releases", "keys", "targets")


def run(folder: Path) -> str:
    """Roll each role back, with the cache kept and lost; then drop each."""
    scene = Scene(folder)
    world = scene.world
    old = {role: Metadata.from_bytes(world.roles[role].to_bytes()) for role in ROLES}
    world.online_round(*ROLES)
    scene.believes("every role one version on")
    new, seen = dict(world.roles), 0
    for role in ROLES:
        world.roles[role] = old[role]
        world.online_round()
        for cache in (scene.device.cache, {}):
            scene.refuses(f"{role} rolled back", "rollback", "version", device=replace(scene.device, cache=cache))
            seen += 1
        world.roles[role] = new[role]
    for role in ROLES:
        del world.roles[role]
        entry = world.roles["snapshot"].signed.meta.pop(f"{role}.json")
        world.online_round()
        scene.refuses(f"{role} dropped", "rollback", "not", "missing", "broken")
        seen += 1
        world.roles[role] = new[role]
        world.roles["snapshot"].signed.meta[f"{role}.json"] = entry
    world.online_round()
    scene.believes("the honest state")
    return f"{seen} of {seen} refused"
