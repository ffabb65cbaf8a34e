"""Who holds the broker gives out an older timestamp, that was signed by the right key and has not expired."""

from dataclasses import replace
from pathlib import Path

from tests.attacks.scene import Scene, next_rollout

EXPECTED = "refused as a rollback; with the cache lost or torn too"


def run(folder: Path) -> str:
    """Let a device see three states and replay the ones before."""
    scene = Scene(folder)
    scene.believes("the first state")
    old = dict(scene.world.held)
    next_rollout(scene.world)
    scene.believes("the second state")
    new, scene.world.held = dict(scene.world.held), {**scene.world.held, "timestamp.json": old["timestamp.json"]}
    scene.refuses("the old timestamp", "rollback")
    scene.world.held = old
    scene.refuses("the whole old state", "rollback")
    kept = scene.device.cache
    for what, cache in (
        ("lost", {}),
        ("torn", {**kept, "timestamp.json": b"", "snapshot.json": kept["snapshot.json"][:100]}),
    ):
        scene.device = replace(scene.device, cache=cache)
        scene.refuses(f"the old state, cache {what}", "rollback")
    scene.world.held = new
    scene.believes("the second state again")
    return f"{scene.looks - 3} replays refused as a rollback, and the honest state believed again"
