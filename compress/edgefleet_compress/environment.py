"""What a run was made with, for the report."""

import platform
from importlib.metadata import version

from . import __version__
from .targets import this_class

LIBRARIES = ("torch", "torch-pruning", "onnx", "onnxruntime", "numpy")


def versions() -> dict[str, str]:
    """Return the version of everything that decides what a step makes."""
    return {"edgefleet-compress": __version__, **{library: version(library) for library in LIBRARIES}}


def environment(seed: int, threads: int) -> dict[str, str]:
    """Return names and versions. Nothing of it names the machine or a person."""
    return {
        **versions(),
        "python": platform.python_version(),
        "machine class": this_class(),
        "seed": str(seed),
        "threads": str(threads),
    }
