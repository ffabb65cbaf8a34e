"""A zstd bomb, chunks that are longer, shorter or other than their name says, and signed manifests with paths and 10^6 entries."""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from backports import zstd

from edgefleet_protocol import codec
from edgefleet_protocol.chunks import MAX_PAYLOAD_BYTES, RAW, ZSTD, unpack
from edgefleet_protocol.errors import BadChunk
from edgefleet_protocol.manifest import Chunk
from edgefleet_protocol.rollout import Assignment, Probation, ReleaseRef
from edgefleet_protocol.trust import release_path, rollouts_role
from tests.attacks.real_device import RealDevice
from tests.attacks.report import must
from tests.attacks.scene import WEST, honest, opened
from tests.fakes.package import make_release
from tests.fakes.signed_world import World

EXPECTED = (
    "each refused with its reason, no memory taken, the hub told; the right bytes end it; no file outside the state"
)
NAMES = ("../evil", "/etc/cron.d/evil", "a/../../evil", "a\0b", "..", "a//b", "C:\\evil")
BOMB_MB = 512
MOST = 290_000
"""What the broker carries. A larger manifest need not come: its signed length is refused first."""


def run(folder: Path) -> str:
    """Give them to a real agent, which must then install the honest release all the same."""
    repo = honest(folder / "trust")
    world = opened(repo)
    release = repo.repository.manifest(repo.ref("fashion/1"))[0]
    chunks = {chunk.sha256: chunk for entry in release.files for chunk in entry.chunks}
    hostile = dict(_hostile(sorted(chunks.values(), key=lambda chunk: -chunk.bytes), repo.repository.chunk))
    wish = Assignment(model="fashion", release=repo.ref("fashion/1"), probation=Probation(seconds=1.0))
    with RealDevice(folder, repo) as device:
        device.put({device.topics.chunk(name): repo.repository.chunk(name) or b"" for name in chunks})
        device.put({device.topics.chunk(name): payload for name, (_, payload) in hostile.items()})
        world.roll_out(WEST, assignments=(wish,))
        world.online_round(rollouts_role(WEST))
        device.publish(world.held, world.targets)
        device.until("the first rollout", lambda: device.serial() == world.serial)
        before_mb = _memory_mb(device.pid)
        asked: set[str] = set()

        def needed() -> bool:
            device.hear()
            for need in device.needs:
                asked.update(need.chunks)
            return bool(asked & hostile.keys())

        device.until("the hub is told of a hostile chunk", needed)
        wanted = _until_all_refused(device, hostile, asked)
        grown_mb = _peak_mb(device.pid) - before_mb
        must(grown_mb < 40, f"the agent grew by {grown_mb:.0f} MB")
        refused = _manifests(device, world, wish)
        device.put({device.topics.chunk(name): repo.repository.chunk(name) or b"" for name in chunks})
        device.until("the honest release runs", lambda: _proven(device))
        written = [*Path("/").glob("evil*"), *Path("/etc/cron.d").glob("evil*"), *folder.rglob("*evil*")]
        must(not written, f"a file was written by its path: {[str(path) for path in written]}")
    kinds = ", ".join(kind for kind, _ in hostile.values())
    return (
        f"{kinds}: refused ({wanted} by the agent as they were asked for), it grew by {grown_mb:.0f} MB at most; "
        f"{refused} signed manifests refused; the honest release installed afterwards"
    )


def _hostile(rows: "list[Chunk]", payload_of: Any) -> "Iterator[tuple[str, tuple[str, bytes]]]":
    """Give, by the chunk whose place it takes, what each is and its payload; the protocol alone must refuse each too."""
    bomb = bytes([ZSTD]) + zstd.compress(bytes(BOMB_MB << 20), 3)
    other = payload_of(rows[1].sha256)
    kinds = {
        "a bomb": bomb[:MAX_PAYLOAD_BYTES],
        "longer": bytes([RAW]) + bytes(rows[1].bytes + 1),
        "shorter": bytes([RAW]) + bytes(max(0, rows[2].bytes - 1)),
        "another chunk": other,
        "an unknown encoding": b"\x07" + bytes(10),
    }
    for (kind, payload), chunk in zip(kinds.items(), [rows[0], rows[1], rows[2], rows[3], rows[4]], strict=True):
        try:
            unpack(payload, chunk)
        except BadChunk:
            yield chunk.sha256, (kind, payload)
        else:
            must(False, f"{kind} was taken for {chunk.sha256[:12]}")


def _until_all_refused(device: RealDevice, hostile: "dict[str, tuple[str, bytes]]", asked: "set[str]") -> int:
    """Wait until every hostile chunk that this device wants was refused; return how many that are."""
    for _ in range(100):
        device.hear()
        for need in device.needs:
            asked.update(need.chunks)
        refused = {event.text for event in device.events if event.kind == "bad-chunk"}
        found = {name for name in hostile if any(name[:12] in text for text in refused)}
        if found and found >= asked & hostile.keys():
            return len(found)
        device.hub.wait(0.1)
    return len(asked & hostile.keys())


def _manifests(device: RealDevice, world: World, wish: Assignment) -> int:
    """Roll out manifests that the offline hand signed and that no device must obey, beside the honest one."""
    good = json.loads(codec.encode(make_release("wicked", ("one",), version=1)[0]))
    bad = []
    for name in NAMES:
        row = json.loads(json.dumps(good))
        row["files"][0]["name"] = row["golden_inputs"][0]["file"] = name
        bad.append(msgspec.json.encode(row))
    row = json.loads(json.dumps(good))
    row["files"][1]["chunks"] = [{"sha256": "ab" * 32, "bytes": 1, "wire_bytes": 2}] * 2_500
    bad.append(msgspec.json.encode(row))
    bad.append(b'{"format":1,"files":[' + b"0," * 1_000_000 + b"0]}")
    for number, body in enumerate(bad, start=1):
        path = release_path(f"wicked/{number}")
        ref = ReleaseRef(path=path, sha256=world.target("releases", path, body))
        world.roll_out(WEST, assignments=(wish, Assignment(model="wicked", release=ref)))
        world.online_round("releases", rollouts_role(WEST))
        device.publish(world.held, _small(world))
        device.until(f"manifest {number} is refused", lambda: device.serial() == world.serial)
        device.until(f"manifest {number} has a reason", partial(device.refused, path))
    world.roll_out(WEST, assignments=(wish,))
    world.online_round(rollouts_role(WEST))
    device.publish(world.held, _small(world))
    device.until("the honest rollout again", lambda: device.serial() == world.serial)
    return len(bad)


def _small(world: World) -> "dict[str, bytes]":
    return {name: data for name, data in world.targets.items() if len(data) < MOST}


def _proven(device: RealDevice) -> bool:
    device.hear()
    rows = device.state.models if device.state is not None else ()
    return any(row.model == "fashion" and row.running is not None and row.running.proven for row in rows)


def _memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
