"""Which inference runtimes this interpreter has, learnt without importing them.

The version is in the package's metadata. What it can open is in a table. Only the providers need the library itself:
a short child asks it, once per version, and the answer is kept.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

from edgefleet_protocol.hardware import RuntimeInfo

from .distributions import version

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-training")
"""All of them bring the module `onnxruntime`; NVIDIA's wheels for Jetson are called onnxruntime-gpu."""

ASK_S = 60.0
"""The first import from an SD card takes a while."""

# (since version, newest IR, newest opset). Tried with the wheels of 1.19.2, 1.23.2 and 1.32.0, read for the two oldest;
# a version in between counts as the older one, which may refuse a model too many and never opens one too few.
_OPENS = (
    ((1, 10), 8, 15),
    ((1, 14), 8, 18),
    ((1, 19), 10, 21),
    ((1, 23), 11, 23),
    ((1, 32), 14, 28),
)


def runtimes(state_folder: Path, *, keep: bool = True) -> tuple[RuntimeInfo, ...]:
    """Return what is installed and can be imported. The child's answer is read from `state_folder`, and kept there if `keep`."""
    found = installed()
    if found is None:
        return ()
    providers = _known(state_folder / "runtimes.json", found, keep)
    if not providers:
        return ()
    max_ir, max_opset = opens(found)
    return (RuntimeInfo(name="onnxruntime", version=found, providers=providers, max_ir=max_ir, max_opset=max_opset),)


def installed() -> str | None:
    """Return the version of onnxruntime by what its installer wrote, or None."""
    return next(filter(None, map(version, DISTRIBUTIONS)), None)


def opens(version_text: str) -> tuple[int, int]:
    """Return the newest IR and opset that a version of onnxruntime opens; the oldest row's for anything older or odd."""
    parts = version_text.split("+")[0].split(".")[:2]
    number = tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in parts)
    known = [(ir, opset) for since, ir, opset in _OPENS if since <= number]
    return known[-1] if known else _OPENS[0][1:]


def _known(path: Path, found: str, keep: bool) -> tuple[str, ...]:
    """Return the providers from `path`, if they are those of this very installation; else ask, and keep the answer if told."""
    here = f"{found} {platform.python_version()} {sys.executable}"
    try:
        kept = json.loads(path.read_text())
        if kept["for"] == here:
            return tuple(str(name) for name in kept["providers"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    providers = ask()
    if providers and keep:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps({"for": here, "providers": providers}))
            beside.replace(path)
        except OSError:
            pass  # a full disk costs the next start a second, not this one its runtime
    return providers


def ask() -> tuple[str, ...]:
    """Return the providers of onnxruntime as a child finds them; none when it cannot be imported."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "edgefleet_agent.serve.runtime_onnx"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_S,
            check=True,
            cwd="/",
        )
        return tuple(str(name) for name in json.loads(done.stdout)["providers"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return ()
