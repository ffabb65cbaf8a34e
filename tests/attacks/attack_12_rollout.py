"""With the region's key: rollouts of what is not listed, of other bytes, by tricky paths, withdrawn, for another region."""

from pathlib import Path

from edgefleet_protocol.rollout import Assignment, ReleaseRef
from edgefleet_protocol.trust import release_path, rollouts_role
from tests.attacks.report import must
from tests.attacks.scene import WEST, Scene, next_rollout, serial

EXPECTED = "none is run, each with its reason; a good release beside them is"
TRICKS = (
    "../keys/commands.json", "releases/fashion/../fashion/1.json", "releases/fashion/1.json\n", "releases/fashion/01.json",
    "/releases/fashion/1.json", "releases/fash*/1.json", "keys/commands.json", f"rollouts/{WEST}.json", "", "releases/fashion/1.json\0",
)  # fmt: skip


def run(folder: Path) -> str:
    """Roll each of them out beside a good one."""
    scene = Scene(folder, releases=2)
    world = scene.world
    good = scene.repo.ref("fashion/2")
    other = ReleaseRef(path=release_path("fashion/1"), sha256="ab" * 32)
    unlisted = ReleaseRef(path=release_path("fashion/7"), sha256=good.sha256)
    stolen = Assignment(model="brakes", release=scene.repo.ref("fashion/1"))
    bad = [Assignment(model="fashion", release=other), Assignment(model="fashion", release=unlisted)]
    bad += [Assignment(model="fashion", release=ReleaseRef(path=path, sha256="ab" * 32)) for path in TRICKS]
    seen = 0
    for one in (*bad, stolen):
        world.roll_out(WEST, assignments=(Assignment(model="fashion", release=good), one))
        world.online_round(rollouts_role(WEST))
        looked = scene.believes(f"a rollout with {one.release.path!r}")
        must(set(looked.manifests) == {good.sha256}, f"{one.release.path!r} would be run")
        must(one.release.path in looked.refused_releases, f"{one.release.path!r} was left out without a reason")
        seen += 1
    next_rollout(world, scene.repo.ref("fashion/1"))
    must(bool(scene.believes("release 1").manifests), "the honest rollout is not obeyed")
    del world.roles["releases"].signed.targets[release_path("fashion/1")]
    world.online_round("releases")
    looked = scene.believes("release 1 withdrawn")
    must(not looked.manifests and "withdrawn" in str(looked.refused_releases), "a withdrawn release would be run")
    before = serial(looked)
    world.roll_out(WEST, good, role="rollouts-ap-south")
    world.online_round("rollouts-ap-south")
    must(serial(scene.believes("our path listed by another region")) == before, "another region's key was obeyed")
    world.roll_out(WEST, good, region="ap-south")
    world.online_round(rollouts_role(WEST))
    scene.refuses("another region's document", "ap-south")
    return f"{seen} tricks refused with reasons, withdrawal obeyed, another region's key and document refused"
