"""What a device is called when nobody says it: its board's class and serial."""

import re
import secrets
from pathlib import Path

from edgefleet_protocol.hardware import class_of

from .hardware import board
from .hardware.files import fields, text

_PLACES = ("sys/firmware/devicetree/base/serial-number", "sys/class/dmi/id/product_serial")


def board_serial(root: Path) -> str | None:
    """Return the board's serial as its firmware says it, or None."""
    found = next((words for place in _PLACES if (words := text(root / place))), None)
    found = found or fields(root / "proc/cpuinfo").get("Serial")
    usable = found is not None and 0 < len(found) <= 64 and found.isascii() and found.isprintable()
    return found if usable else None


def device_name(root: Path, machine: str | None, serial: str | None) -> str:
    """Return a device id made of the board's class and serial; of random digits where it has no serial."""
    kind = class_of(board.compatible(root), board.machine(root, machine))
    name = f"{kind}-{serial.lstrip('0') or '0' if serial else secrets.token_hex(6)}".lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:64].strip("-") or f"device-{secrets.token_hex(6)}"
