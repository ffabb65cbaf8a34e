"""The other tools, each in an environment of its own below `.peers/`: they want different versions of everything."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".peers"
HERE = Path(__file__).parent
TORCH = "torch==2.13.0"
PEERS = {
    "nncf": ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0"),
    "aimet": (TORCH, "aimet-onnx==2.42.0"),
    "modelopt": (
        TORCH, "nvidia-modelopt==0.47.0", "onnx==1.23.2", "onnxruntime==1.32.0", "onnx-graphsurgeon", "onnxconverter-common",
        "onnxscript", "onnxslim", "polygraphy", "lief",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """What a tool made, or why it made nothing."""

    data: bytes | None
    seconds: float
    words: str


def prepare(name: str, folder: Path = FOLDER) -> Path:
    """Return the Python of a tool's environment, made if it is not there. Takes minutes and up to 2 GB each."""
    python, ready = folder / name / "bin" / "python", folder / name / "ready"
    wanted = "\n".join(PEERS[name])
    if not ready.is_file() or ready.read_text() != wanted:
        print(f"installing {name} into {folder / name} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[name]], check=True
        )
        ready.write_text(wanted)
    return python


def run(name: str, model: Path, calibration: Path, out: Path, folder: Path = FOLDER) -> Ran:
    """Return what the tool makes of `model`."""
    python, since = prepare(name, folder), time.monotonic()
    done = subprocess.run(
        [python, HERE / f"by_{name}.py", model, calibration, out], capture_output=True, text=True, cwd=out.parent
    )
    seconds = time.monotonic() - since
    if done.returncode or not out.is_file():
        return Ran(None, seconds, (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200])
    return Ran(out.read_bytes(), seconds, done.stdout.strip().splitlines()[-1])
