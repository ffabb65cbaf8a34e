"""With the timestamp key, an old snapshot is put under a new and valid timestamp."""

from dataclasses import replace
from pathlib import Path

from edgefleet_protocol.codec import sha256_hex
from tests.attacks.scene import Scene, next_rollout

EXPECTED = "refused as a rollback, cache kept or lost"


def run(folder: Path) -> str:
    """Sign a new timestamp over the snapshot before."""
    scene = Scene(folder)
    scene.believes("the first state")
    old = scene.world.roles["snapshot"].signed.version
    body = scene.world.held[f"{old}.snapshot.json"]
    next_rollout(scene.world)
    scene.believes("the second state")
    timestamp = scene.world.roles["timestamp"].signed
    timestamp.version += 1
    timestamp.snapshot_meta.version = old
    timestamp.snapshot_meta.length, timestamp.snapshot_meta.hashes = len(body), {"sha256": sha256_hex(body)}
    scene.world.put("timestamp")
    scene.refuses("snapshot kept", "rollback")
    scene.device = replace(scene.device, cache={})
    reason = scene.refuses("cache lost", "rollback")
    return f"refused twice, last: {reason}"
