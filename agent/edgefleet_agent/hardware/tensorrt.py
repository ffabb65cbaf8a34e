"""Which TensorRT is installed, learnt without loading it: an engine fits the version that built it and no other."""

import re
from collections.abc import Iterable
from pathlib import Path

from edgefleet_protocol.hardware import Hardware

from .distributions import version

PROVIDER = "TensorrtExecutionProvider"
DISTRIBUTIONS = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-cu11")
LIBRARIES = ("usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/local/tensorrt/lib", "usr/lib")
"""JetPack brings it as a Debian package, whose library carries its whole version in its name."""


def offers_tensorrt(hardware: Hardware) -> bool:
    """Return whether a runtime of the device offers it."""
    return any(PROVIDER in runtime.providers for runtime in hardware.runtimes)


def tensorrt_version(root: Path = Path("/")) -> str:
    """Return its version, `10.3.0`, or nothing when none is found."""
    if found := next(filter(None, map(version, DISTRIBUTIONS)), None):
        return found
    for folder in LIBRARIES:
        if found := newest(path.name for path in (root / folder).glob("libnvinfer.so.*")):
            return found
    return ""


def newest(names: Iterable[str]) -> str:
    """Return the newest whole version among names of libraries, or nothing."""
    rows = [re.fullmatch(r"libnvinfer\.so\.(\d+)\.(\d+)\.(\d+)", name) for name in names]
    versions = [tuple(int(part) for part in row.groups()) for row in rows if row is not None]
    return ".".join(map(str, max(versions))) if versions else ""
