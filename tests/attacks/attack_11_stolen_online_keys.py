"""Every online key is stolen, and signs a list of releases, the delegations, or a root."""

from pathlib import Path

from edgefleet_agent.seams import Looked
from edgefleet_protocol.trust import rollouts_role
from tests.attacks.report import must
from tests.attacks.scene import WEST, Scene, serial

EXPECTED = "nothing that an offline key signs is believed from an online one"
ROLLOUTS = rollouts_role(WEST)


def run(folder: Path) -> str:
    """Sign each offline role with each online key, under a right snapshot and timestamp."""
    scene = Scene(folder)
    world = scene.world
    last = serial(scene.believes("the honest state"))
    right, refused = dict(world.roles), 0
    for role in ("releases", "keys", "targets"):
        for thief in ("snapshot", "timestamp", ROLLOUTS, "commands"):
            world.roles[role].signed.version += 1
            world.put(role, world.keys[thief])
            world.online_round()
            scene.refuses(f"{role} signed by {thief}", "not signed by enough")
            refused += 1
        world.put(role)
        world.online_round()
    for thief in ("snapshot", "timestamp", ROLLOUTS, "commands"):
        world.rotate("snapshot", world.keys[thief])
        world.online_round()
        scene.refuses(f"a root signed by {thief}", "not signed by enough", "broken")
        name = f"{world.roles['root'].signed.version}.root.json"
        del world.held[name]
        world.roles["root"].signed.version -= 1
        world.head()
        refused += 1
    world.put("root")
    world.roles |= {role: right[role] for role in ("releases", "keys", "targets")}
    # What the thief may do: choose among what is listed. A release that the thief lists itself is not.
    world.head(1)
    fresh = Scene(folder / "again")
    ref = fresh.world.list_release("fashion", 9, role=ROLLOUTS)
    fresh.world.roll_out(WEST, ref)
    fresh.world.online_round(ROLLOUTS)
    looked = fresh.believes("a rollout of what only the thief lists")
    must(isinstance(looked, Looked) and not looked.manifests, "a release that the online hand listed would be run")
    must("not listed" in looked.refused_releases[ref.path], f"refused for another reason: {looked.refused_releases}")
    return (
        f"{refused} refused (rollout {last} stands); a release of the thief's own: {looked.refused_releases[ref.path]}"
    )
