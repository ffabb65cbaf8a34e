"""What board this is: its device tree, CPU, memory and system."""

import os
import re
from pathlib import Path

from .files import fields, kilobytes, matching, strings, text

DEVICE_TREE = "sys/firmware/devicetree/base"
"""/proc/device-tree is only a link to it."""

# Compute capability of the GPU in each Tegra: what decides which kernels can run there.
_ACCELERATORS = {
    "nvidia,tegra210": "sm_53",
    "nvidia,tegra186": "sm_62",
    "nvidia,tegra194": "sm_72",
    "nvidia,tegra234": "sm_87",
}


def compatible(root: Path) -> tuple[str, ...]:
    """Return the device tree's `compatible` strings, the most exact first; none on a machine without a device tree."""
    return strings(root / DEVICE_TREE / "compatible")


def features(root: Path) -> tuple[str, ...]:
    """Return the instruction sets that every core has, sorted: threads move between cores, and one lacking core is a crash."""
    every: set[str] | None = None
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("Features", "flags"):
            here = set(value.split())
            every = here if every is None else every & here
    return tuple(sorted(every or ()))


def cores(root: Path) -> int:
    """Return how many cores the kernel lists; 0 when it does not say."""
    return len(re.findall(r"^processor\s*:", text(root / "proc/cpuinfo") or "", re.MULTILINE))


def memory_bytes(root: Path) -> int:
    """Return the memory that the kernel has; 0 when it does not say."""
    return kilobytes(root / "proc/meminfo", "MemTotal") or 0


def accelerator(names: tuple[str, ...]) -> str | None:
    """Return the GPU's compute capability, or None where there is none that a runtime could use."""
    return next((_ACCELERATORS[name] for name in names if name in _ACCELERATORS), None)


def power_mode(root: Path) -> str | None:
    """Return the name of the Jetson's power mode (`15W`, `MAXN`), or its number where the table is missing, or None."""
    found = re.search(r"pmode:(\d+)", text(root / "var/lib/nvpmodel/status") or "")
    if found is None:
        return None
    number = int(found[1])
    table = text(root / "etc/nvpmodel.conf") or ""
    name = re.search(rf"<\s*POWER_MODEL\s+ID={number}\s+NAME=(\S+)\s*>", table)
    return name[1] if name else str(number)


def system(root: Path) -> str:
    """Return the system's name, with the Jetson's L4T release, on which everything there depends."""
    names = [
        (line.partition("=")[0], line.partition("=")[2]) for line in (text(root / "etc/os-release") or "").split("\n")
    ]
    name = dict(names).get("PRETTY_NAME", "").strip().strip('"')
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text(root / "etc/nv_tegra_release") or "")
    return ", ".join(part for part in (name, f"L4T {release[1]}.{release[2]}" if release else "") if part)[:256]


def machine(root: Path, given: str | None) -> str:
    """Return the architecture as `uname -m` says it. `given` is for roots that are another machine's."""
    return given or os.uname().machine


def model(root: Path) -> str:
    """Return what the board calls itself, or nothing."""
    return text(root / DEVICE_TREE / "model") or fields(root / "proc/cpuinfo").get("Model", "")


def serial_number(root: Path) -> str:
    """Return the board's serial number as its firmware says it, or nothing: another SD card does not change it."""
    said = text(root / DEVICE_TREE / "serial-number") or fields(root / "proc/cpuinfo").get("Serial", "")
    return "".join(letter for letter in said if letter.isprintable()).strip()[:128]


def hwmons(root: Path, name: str) -> list[Path]:
    """Return the folders of the hardware monitors called `name`."""
    found = matching(root, "sys/class/hwmon/hwmon*") + matching(root, "sys/bus/i2c/devices/*/hwmon/hwmon*")
    return list({path.resolve(): path for path in found if text(path / "name") == name}.values())
