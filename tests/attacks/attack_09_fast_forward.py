"""A thief of the online keys gives versions of 2^31, so that everything honest counts as older afterwards."""

from pathlib import Path

from securesystemslib.signer import CryptoSigner

from edgefleet_protocol.trust import rollouts_role
from tests.attacks.report import must
from tests.attacks.scene import WEST, Scene

EXPECTED = "healed role by role by new keys; a role whose key stays never goes back"
ROLLOUTS = rollouts_role(WEST)


def run(folder: Path) -> str:
    """Fast-forward three roles; rotate two keys, then all three."""
    scene = Scene(folder)
    world = scene.world
    scene.believes("the honest state")
    right = {role: world.roles[role].signed.version for role in ("snapshot", "timestamp", ROLLOUTS)}
    for role in right:
        world.roles[role].signed.version = 2**31
    world.online_round(ROLLOUTS)
    scene.believes("the fast-forwarded state, which is rightly signed")
    for role in ("snapshot", "timestamp"):
        world.rotate(role)
        world.roles[role].signed.version = right[role] + 1
    world.roles[ROLLOUTS].signed.version = right[ROLLOUTS] + 1
    world.online_round(ROLLOUTS)
    scene.refuses("the region's role went back under its old key", "rollback")
    delegations = world.roles["targets"].signed.delegations
    world.keys[ROLLOUTS] = CryptoSigner.generate_ed25519()
    public = world.keys[ROLLOUTS].public_key
    delegations.keys[public.keyid] = public
    delegations.roles[ROLLOUTS].keyids = [public.keyid]
    world.online_round("targets", ROLLOUTS)
    looked = scene.believes("low versions under new keys")
    must(looked.versions[ROLLOUTS] < 100, "the count did not begin anew")
    return "believed under new keys at versions " + ", ".join(
        f"{role} {looked.versions[role]}" for role in ("timestamp", "snapshot", ROLLOUTS)
    )
