"""Releases for virtual devices: real manifests, chunks and signatures around files that only say how the model behaves."""

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec

from edgefleet_protocol import codec
from edgefleet_protocol.manifest import (
    Accuracy,
    FileEntry,
    Golden,
    InputSpec,
    Interface,
    OutputSpec,
    Release,
    Requirement,
    TensorFile,
    Tolerance,
    Variant,
)
from edgefleet_trust.files import Disk
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.passphrase import Passphrase
from edgefleet_trust.proposal import read_proposal, write_proposal
from edgefleet_trust.propose import propose
from edgefleet_trust.publish import publish
from edgefleet_trust.repository import Repository
from edgefleet_trust.signing import review, sign_proposal

from .boards import RUNTIME
from .launcher import Fails, ModelFile

VARIANTS = (("wide", 0.95, 0.020, 600_000_000), ("small", 0.93, 0.008, 150_000_000))
"""Name, accuracy, seconds of one inference on a Pi 5, memory. A Pi Zero has no room for the wide one."""
SHAPE = (1, 4)


def write_package(folder: Path, model: str, size_bytes: int, fails: Fails = "") -> None:
    """Write a package as `edgefleet compress` does; its variants have `size_bytes` each that no compression shortens."""
    files = {"golden/x.f32": bytes(16)}
    variants = []
    for name, accuracy, base_s, memory in VARIANTS:
        about = ModelFile(release=folder.name, variant=name, base_s=base_s, fails=fails)
        noise = hashlib.shake_256(f"{folder.name} {name}".encode()).digest(size_bytes)
        path, golden = f"{name}/model.bin", f"golden/{name}.f32"
        files[path] = msgspec.json.encode(about) + b"\n" + noise
        files[golden] = bytes(16)
        output = TensorFile(name="y", datatype="FP32", shape=SHAPE, file=golden)
        variants.append(
            Variant(
                name=name,
                files=(path,),
                bytes=len(files[path]),
                golden=Golden(
                    outputs=(output,), tolerances=(Tolerance(provider="CPUExecutionProvider", max_abs=1e-3),)
                ),
                accuracy=Accuracy(metric="top-1", value=accuracy, samples=1000),
                runtime=RUNTIME,
                requires=Requirement(memory_bytes=memory, load_s=60.0),
            )
        )
    release = Release(
        model=model,
        version=0,
        interface=Interface(
            task="classification",
            inputs=(InputSpec(name="x", datatype="FP32", shape=(-1, 4)),),
            outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 4), meaning="logits"),),
            labels=("a", "b", "c", "d"),
        ),
        golden_inputs=(TensorFile(name="x", datatype="FP32", shape=SHAPE, file="golden/x.f32"),),
        variants=tuple(variants),
        files=tuple(
            FileEntry(name=name, bytes=len(data), sha256=codec.sha256_hex(data)) for name, data in files.items()
        ),
    )
    for name, data in files.items():
        path_of = folder / "files" / name
        path_of.parent.mkdir(parents=True, exist_ok=True)
        path_of.write_bytes(data)
    (folder / "release.json").write_bytes(codec.encode(release))
    (folder / "report.html").write_text("<!doctype html><title>simulated</title>\n")


def publish_package(repository: Repository, keys: Path, secret: bytes, package: Path, now: datetime) -> str:
    """Propose, sign and publish a package as one holder of all keys; return the release's name."""
    file = package.with_suffix(".proposal")
    write_proposal(file, propose(package, repository, now), Disk())
    sign_proposal(review(file, keys, now), file, keys, Passphrase(secret))
    return publish(read_proposal(file), repository, OnlineKeys.load(keys, secret), now)
