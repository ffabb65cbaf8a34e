"""Who holds the broker puts bytes of one topic under another, and of one state beside another's."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, Missing
from tests.attacks.report import must
from tests.attacks.scene import Scene, in_use, next_rollout
from tests.fakes.signed_world import Device

EXPECTED = "no mix is believed"


def run(folder: Path) -> str:
    """Exchange every pair of topics of two states; what has the right bytes under its name is no mix."""
    scene = Scene(folder)
    before = dict(scene.world.held)
    next_rollout(scene.world, scene.repo.ref("fashion/1"))
    scene.world.online_round("releases", "keys")
    honest, targets = dict(scene.world.held), dict(scene.world.targets)
    used = in_use(scene.world)
    mixed = [name for name in before if name not in used and name != "head"]  # bytes of the state before
    tried = 0
    quick = replace(
        scene.new_device(), looker=InProcessLooker(scene.scratch)
    )  # the same code, without a process for each
    for one, other in permutations(used, 2):
        answer = scene.look({**honest, one: honest[other]}, targets, replace(quick))
        must(not isinstance(answer, Looked), f"{other} was believed under the name {one}")
        tried += 1
    for one in used:
        for other in mixed:
            answer = scene.look({**honest, one: before[other]}, targets, replace(quick))
            must(not isinstance(answer, Looked), f"the old {other} was believed under the name {one}")
            tried += 1
    digests = [name for name in targets if _is_used(scene, honest, name, replace(quick))]
    for one, other in zip(digests, digests[1:] + digests[:1], strict=True):
        answer = scene.look(honest, {**targets, one: targets[other]}, replace(quick))
        must(not isinstance(answer, Looked), "a target was believed under another's digest")
        tried += 1
    scene.believes("the honest state")
    must(len(digests) >= 3, "keys, rollout and manifest are in use")
    return f"{tried} mixes tried, none believed"


def _is_used(scene: Scene, honest: dict[str, bytes], digest: str, device: Device) -> bool:
    without = {name: data for name, data in scene.world.targets.items() if name != digest}
    return isinstance(scene.look(honest, without, device), Missing)
