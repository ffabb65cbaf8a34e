"""Who holds the broker withholds one topic after the other, and then gives it out."""

import time
from functools import partial
from pathlib import Path

from tests.attacks.real_device import RealDevice
from tests.attacks.report import must
from tests.attacks.scene import WEST, honest, opened

EXPECTED = "no change while it is withheld, the hub told with `need`, the change once it is there; the agent lives on"
ROLES = ("targets", "keys", "releases", f"rollouts-{WEST}")


def run(folder: Path) -> str:
    """For each topic in turn: sign a new root, release and rollout, publish all but that one, then that one."""
    repo = honest(folder / "trust")
    world = opened(repo)
    told = []
    with RealDevice(folder, repo) as device:
        device.publish(world.held, world.targets)
        device.until("the first rollout", lambda: device.serial() == world.serial)
        kinds = ("timestamp.json", "head", "root", "snapshot", *ROLES, "document", "manifest", "key list")
        for number, kind in enumerate(kinds, start=50):
            world.rotate("snapshot")
            ref = world.list_release("fashion", number)
            world.roll_out(WEST, ref)
            world.online_round(*ROLES)
            paths = world.roles[f"rollouts-{WEST}"].signed.targets, world.roles["keys"].signed.targets
            name = {
                "document": paths[0][f"rollouts/{WEST}.json"].hashes["sha256"],
                "manifest": ref.sha256,
                "key list": paths[1]["keys/commands.json"].hashes["sha256"],
            }.get(kind)
            if name is None:
                name = kind if kind in world.held else f"{world.roles[kind].signed.version}.{kind}.json"
            before = device.serial()
            if kind == "key list":
                device.put({device.topics.target(name): b""})
            device.publish(world.held, world.targets, without=(name,))
            if kind == "head":
                device.until(
                    "it refuses what a root that it does not know signed", lambda: "signed" in device.problem()
                )
            elif kind != "timestamp.json":
                device.until(f"it tells the hub of {kind} {name}", partial(device.asked_for, name))
                told.append(kind)
            else:
                time.sleep(1.0)
            must(device.serial() == before, f"it changed although {kind} was withheld")
            topic = device.topics.trust(name) if name in world.held else device.topics.target(name)
            device.put({topic: world.held.get(name) or world.targets[name]})
            device.until(f"the rollout once {kind} is there", lambda: device.serial() == world.serial)
        must(device.parts.runs("agent"), "the agent ended")
    return f"{len(kinds)} topics withheld and given: no change meanwhile, need for {len(told)}, converged after each"
