"""Roots: who lacks a threshold of the old or of the new holders cannot make one, and none can be left out."""

import json
from dataclasses import replace
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, Root, Timestamp

from edgefleet_agent.seams import Refused
from edgefleet_protocol.trust import rollouts_role
from tests.attacks.report import must
from tests.attacks.scene import DAY, WEST, Scene
from tests.fakes.signed_world import World

EXPECTED = (
    "three generations walked; 1 of 3, one key twice, only new, only old, skipped: refused; a verified root is kept"
)
TWICE = "the same new holder twice"


def run(folder: Path) -> str:
    """Go over to three holders of whom two must sign, then on to three others, trying each short cut on the way."""
    scene = Scene(folder)
    world = scene.world
    first = [world.keys["root"]]
    second: list[Signer] = [CryptoSigner.generate_ed25519() for _ in range(3)]
    third: list[Signer] = [CryptoSigner.generate_ed25519() for _ in range(3)]
    _holders(world.roles["root"].signed, first, second, threshold=2)
    tricks: dict[str, list[Signer]] = {
        "only one of the three new holders": [*first, second[0]],
        TWICE: [*first, second[0]],
        "only the new holders": second,
        "only the old holder": first,
        "strangers": third,
    }
    refused = _try(scene, tricks)
    world.put("root", *first, *second[:2])
    world.keys["root"] = second[0]
    _resign_targets(world, second)
    world.head()
    world.online_round()
    scene.believes("the second generation")
    _holders(world.roles["root"].signed, second, third, threshold=2)
    tricks = {
        "one old holder and all new": [second[0], *third],
        "two old holders and one new": [*second[:2], third[0]],
        "the first generation": [*first, *third],
    }
    refused += _try(scene, tricks)
    world.put("root", *second[1:], *third[:2])
    _resign_targets(world, third)
    world.head()
    world.online_round()
    right = dict(world.held)
    last = world.roles["root"].signed.version
    world.held[f"{last - 1}.root.json"] = world.held[f"{last}.root.json"]
    scene.refuses("a root left out", "rollback", "broken", "not signed by enough", device=scene.new_device())
    world.held = right
    must(scene.believes("three generations", scene.new_device()).versions["root"] == last, "the walk ended early")
    scene.believes("the third generation, by a device that knows the second")
    before = {name: data for name, data in world.held.items() if not name.startswith(f"{last}.root")}
    world.held = {**before, "head": b'{"root": %d}' % (last - 1)}
    lost = scene.new_device()
    lost.memory = scene.device.memory
    scene.refuses("an older root, with the cache lost", "rollback", "not signed by enough", device=lost)
    world.held = right
    kept = _kept_when_the_rest_is_refused(scene, third[:2])
    return f"{last} roots walked, {refused + 2} short cuts refused, {kept}"


def _holders(root: Root, old: list[Signer], new: list[Signer], threshold: int) -> None:
    for role in ("root", "targets"):
        for signer in old:
            root.revoke_key(signer.public_key.keyid, role)
        for signer in new:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = threshold
    root.version += 1


def _resign_targets(world: World, holders: list[Signer]) -> None:
    world.roles["targets"].signed.version += 1
    world.put("targets", *holders[:2])


def _try(scene: Scene, tricks: dict[str, list[Signer]]) -> int:
    """Give out the root signed in each of these ways; each must be refused."""
    world, head = scene.world, scene.world.held["head"]
    name = f"{world.roles['root'].signed.version}.root.json"
    for what, signers in tricks.items():
        world.put("root", *signers)
        if what == TWICE:
            body = json.loads(world.held[name])
            body["signatures"].append(body["signatures"][-1])
            world.held[name] = json.dumps(body).encode()
        world.head()
        scene.refuses(what, "not signed by enough", "broken")
    del world.held[name]
    world.held["head"] = head
    return len(tricks)


def _kept_when_the_rest_is_refused(scene: Scene, holders: list[Signer]) -> str:
    """A root that was verified revokes a key although the timestamp that came with it had expired."""
    world, device = scene.world, scene.new_device()
    scene.believes("before", device)
    stolen, old = world.keys["timestamp"], dict(world.held)
    root: Root = world.roles["root"].signed
    world.keys["timestamp"] = CryptoSigner.generate_ed25519()
    root.revoke_key(stolen.public_key.keyid, "timestamp")
    root.add_key(world.keys["timestamp"].public_key, "timestamp")
    root.version += 1
    world.put("root", *holders)
    world.head()
    right = world.roles["timestamp"].signed.expires
    world.expire("timestamp", world.now - DAY)
    world.online_round()
    answer = scene.look(device=device)
    roots = answer.roots if isinstance(answer, Refused) else {}
    must(f"{root.version}.root.json" in roots, "the new root was forgotten with what was refused")
    # As the agent stores it (store.facts.put_roots):
    device.cache = {**device.cache, **roots}
    device.memory = replace(device.memory, versions={**device.memory.versions, "root": root.version})
    honest = dict(world.held)
    replayed = Metadata[Timestamp].from_bytes(old["timestamp.json"])
    replayed.signed.version += 50
    replayed.sign(stolen)
    scene.world.held = {**old, "timestamp.json": replayed.to_bytes()}
    scene.refuses("a key that a verified root revoked", "not signed by enough", device=device)
    world.held = honest
    world.expire("timestamp", right)
    world.online_round(rollouts_role(WEST))
    scene.believes("afterwards", device)
    return "a root that came with something expired is kept"
