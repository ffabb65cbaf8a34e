"""Metadata that is huge, endless, nested, not JSON, or changed in a few bytes."""

import resource
from pathlib import Path

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, Missing, Refused
from tests.attacks.report import Broken, must
from tests.attacks.scene import Scene, in_use
from tests.fakes.hostile import hostile

EXPECTED = "refused or missing, nothing else comes out of the look; nothing changed is believed; memory stays bounded"
FUZZED = 600
HUGE = (b'{"signed": {' + b'"a": [' * 10_000_000)[:40_000_000]


def run(folder: Path) -> str:
    """Look at hostile bytes in every place: many in this process, the huge ones in the child."""
    scene = Scene(folder)
    scene.world.rotate("snapshot")
    scene.world.online_round()
    world, names = scene.world, [*in_use(scene.world), "head"]
    quick = InProcessLooker(scene.scratch)
    believed = scene.believes("the honest state", scene.new_device())
    unchanged = 0
    for seed in range(FUZZED):
        name, device = names[seed % len(names)], scene.new_device()
        device.looker = quick
        try:
            answer = scene.look({**world.held, name: hostile(world.held[name], seed)}, device=device)
        except Exception as error:
            raise Broken(f"seed {seed} in {name}: {type(error).__name__}: {error}") from error
        must(isinstance(answer, Looked | Missing | Refused), f"seed {seed} in {name}: {answer}")
        if isinstance(answer, Looked):  # what changed lies outside of what is signed
            same = answer.versions, answer.rollout, answer.manifests, answer.command_keys, answer.expires
            right = believed.versions, believed.rollout, believed.manifests, believed.command_keys, believed.expires
            must(same == right, f"seed {seed} in {name}: something else was believed")
            unchanged += 1
    for name in ("timestamp.json", "2.root.json", "head", "1.targets.json"):
        answer = scene.look({**world.held, name: HUGE}, device=scene.new_device())
        must(isinstance(answer, Refused), f"40 MB in {name}: {str(answer)[:100]}")
    most_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    must(most_mb < 500, f"a look took {most_mb:.0f} MB")
    must(not list(scene.scratch.iterdir()), "a look left files behind")
    return (
        f"{FUZZED - unchanged} of {FUZZED} hostile documents refused or missing, {unchanged} changed nothing that is signed; "
        f"40 MB in 4 places refused, a look took at most {most_mb:.0f} MB"
    )
