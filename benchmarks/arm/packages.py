"""The device's own Debian packages for arm64, as `make deb ARGS="--arch arm64"` makes them, and what lies in them."""

import hashlib
import sys
from pathlib import Path

from .fetch import unpacked
from .places import LAB, ROOT, made, run

SITE = "usr/lib/edgefleet/lib/python3.11/site-packages"
RUNTIME = ("constraints.txt", "scripts/build-deb")
AGENT = (*RUNTIME, "agent", "protocol", "edgefleet", "deploy/debian", "deploy/systemd")


def built(which: str) -> Path:
    """Return the package `agent` or `runtime`, built from this very tree."""

    def build(folder: Path) -> None:
        words = [sys.executable, "scripts/build-deb", "--arch", "arm64", "--only", which, "--out", str(folder)]
        run(words, cwd=ROOT, log=LAB / "build-deb.log")

    sources = AGENT if which == "agent" else RUNTIME
    folder = made(LAB / f"deb-{which}", _digest(sources), build, f"building edgefleet-{which} for arm64")
    return next(folder.glob("*.deb"))


def runtime() -> Path:
    """Return a folder of modules: onnxruntime and numpy as the device's package holds them."""

    def unpack(folder: Path) -> None:
        unpacked(deb, folder)

    deb = built("runtime")
    return made(LAB / "runtime", _digest(RUNTIME), unpack, "unpacking the runtime's package") / SITE


def _digest(names: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    for name in names:
        top = ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            parts = path.relative_to(ROOT).parts
            if path.is_file() and "__pycache__" not in parts and not any(part.endswith(".egg-info") for part in parts):
                total.update(f"{'/'.join(parts)}\n".encode() + path.read_bytes())
    return total.hexdigest()
