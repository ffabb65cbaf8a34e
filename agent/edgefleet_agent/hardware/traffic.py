"""Bytes since boot, over the network and to storage, and how worn the storage is. What a board lacks is None."""

import os
import re
from pathlib import Path

from edgefleet_protocol.telemetry import InterfaceWindow

from .files import fields, matching, text

SECTOR = 512
"""What diskstats counts in, whatever the disk's own sectors are."""
MAX_INTERFACES = 16
_NOT_ASKED = re.compile(r"^(lo|veth.*|docker.*|br-.*|virbr.*)$")
_PARTITION = re.compile(r"((?:mmcblk|nvme\d+n|md|loop)\d+)p\d+$|((?:sd|vd|hd|xvd)[a-z]+)\d+$")


def interfaces(root: Path) -> tuple[InterfaceWindow, ...] | None:
    """Return the bytes of each interface that leads out of the device, or None where there is none."""
    signals = _signals(root)
    rows = []
    for name, value in sorted(fields(root / "proc/net/dev").items()):
        numbers = value.split()
        if len(numbers) >= 9 and numbers[0].isdigit() and numbers[8].isdigit() and not _NOT_ASKED.match(name):
            rows.append(
                InterfaceWindow(
                    name=name, received_bytes=int(numbers[0]), sent_bytes=int(numbers[8]), signal_dbm=signals.get(name)
                )
            )
    return tuple(rows[:MAX_INTERFACES]) or None


def _signals(root: Path) -> dict[str, float]:
    found = {}
    for name, value in fields(root / "proc/net/wireless").items():
        # status link level noise: the level is in dBm where the driver counts in it, and then below 0.
        numbers = value.split()
        level = numbers[2].rstrip(".") if len(numbers) > 2 else ""
        if re.fullmatch(r"-\d+", level):
            found[name] = float(level)
    return found


def disk_of(root: Path, folder: Path) -> str | None:
    """Return the name of the whole disk that holds `folder` (`mmcblk0`), or None where the kernel does not say."""
    try:
        number = folder.stat().st_dev
    except OSError:
        return None
    for line in (text(root / "proc/diskstats") or "").splitlines():
        row = line.split()
        if len(row) > 2 and row[:2] == [str(os.major(number)), str(os.minor(number))]:
            part = _PARTITION.match(row[2])
            return (part[1] or part[2]) if part else row[2]
    return None


def written_bytes(root: Path, folder: Path) -> int | None:
    """Return the bytes that were written since boot to the disk that holds `folder`, or None."""
    disk = disk_of(root, folder)
    for line in (text(root / "proc/diskstats") or "").splitlines():
        row = line.split()
        if len(row) > 9 and row[2] == disk and row[9].isdigit():
            return int(row[9]) * SECTOR
    return None


def wear_percent(root: Path, folder: Path) -> float | None:
    """Return how much of its life an eMMC says is used, the worse of its two kinds of cells; None for all other storage.

    The eMMC tells it in tens: 0x01 is up to 10 %, 0x0a up to 100 %, 0x0b beyond; 0x00 is undefined.
    """
    disk = disk_of(root, folder)
    found = []
    for path in matching(root, f"sys/class/block/{disk}/device/life_time") if disk else []:
        for word in (text(path) or "").split():
            if re.fullmatch(r"0x0?[1-9a-bA-B]", word):
                found.append(min(int(word, 16) * 10, 110))
    return float(max(found)) if found else None
