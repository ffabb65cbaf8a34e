"""Hostile ONNX files: at `release propose`, on the device before any runtime, and in the trial's bounded worker.

On onnxruntime 1.20.1, which by itself reads any path and crashes, in an environment made here as a device has it; and on the
one that this environment is pinned to.
"""

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_trust.errors import BadPackage
from edgefleet_trust.propose import propose
from tests.attacks.onnx_cases import cases, honest
from tests.attacks.onnx_device import release_of
from tests.attacks.report import must
from tests.fakes.package import write_package
from tests.fakes.repository import make_repository

EXPECTED = "what bytes can show is refused at propose and on the device before any runtime; what they cannot ends in its worker"
OLDEST = "1.20.1"
REPOSITORY = Path(__file__).resolve().parents[2]


def run(folder: Path) -> str:
    """Propose each, then take each through the device's steps on both runtimes."""
    refused = _propose(folder)
    rows = [
        _on(python, folder / name) for name, python in (("oldest", _oldest(folder)), ("newest", Path(sys.executable)))
    ]
    must(rows[0]["version"] == OLDEST, f"the old runtime is {rows[0]['version']}")
    words = [f"{refused} refused at propose"]
    for found in rows:
        words.append(f"on {found['version']}: " + _judge(found))
    return "; ".join(words)


def _propose(folder: Path) -> int:
    folder.joinpath("trust").mkdir()
    repository = make_repository(folder / "trust").repository
    refused = 0
    for number, case in enumerate([*honest(), *cases(folder)]):
        release, files = release_of(case)
        entries = tuple(msgspec.structs.replace(entry, chunks=()) for entry in release.files)
        write_package(folder / f"p{number}", msgspec.structs.replace(release, version=0, files=entries), files)
        taken = case.name.startswith("honest") or not case.static
        try:
            propose(folder / f"p{number}", repository, datetime.now(timezone.utc))
        except BadPackage as error:
            must(not taken, f"{case.name} was refused at propose: {error}")
            refused += 1
        else:
            must(taken, f"{case.name} could be proposed")
    return refused


def _oldest(folder: Path) -> Path:
    """Return the interpreter of a device's environment with the oldest runtime that is supported."""
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [str(environment / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    wanted = [str(REPOSITORY / "protocol"), str(REPOSITORY / "agent"), f"onnxruntime=={OLDEST}", "numpy<2.3"]
    subprocess.run([*pip, *wanted], check=True, capture_output=True)
    return environment / "bin/python"


def _on(python: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    command = [str(python), "-m", "tests.attacks.onnx_device", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=600)
    must(done.returncode == 0, f"the device's steps ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _judge(found: dict[str, Any]) -> str:
    held = found["limits"]
    must(
        all(not held[name].startswith("none") for name in ("memory", "network", "cpu")),
        f"limits that do not hold: {held}",
    )
    static = bombs = alone = 0
    for row in found["rows"]:
        name = row["name"]
        if name.startswith("honest"):
            must(row["assembly"] == "assembled, modes 0o440", f"{name}: {row['assembly']}")
            must(row["trial"].startswith("passed"), f"{name}: {row['trial']}")
        elif row["static"]:
            must(row["assembly"].startswith("refused"), f"{name} was assembled: {row['assembly']}")
            must(row["trial"].startswith("failed"), f"{name} passed its trial: {row['trial']}")
            static += 1
            alone += row["alone"].startswith(("ran", "died"))
        else:
            must(row["trial"].startswith("failed"), f"{name}: {row['trial']}")
            must("memory" in row["trial"] or "CPU" in row["trial"], f"{name} ended otherwise: {row['trial']}")
            bombs += 1
    return f"{static} refused on the device before the runtime (which alone runs or dies of {alone}), {bombs} bombs ended by their limits"
