"""Batteries of common UPS HATs that do not register as a power supply: PiSugar by its server's socket, two chips by I2C.

I2C needs no library: a bus is a file, one ioctl names the chip, and a register is written and then read.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from .files import matching
from .plugins import Reading

_I2C_SLAVE = 0x0703
Register = Callable[[int], bytes]
"""Two bytes of a register, the higher first."""

PISUGAR = "tmp/pisugar-server.sock"
SHUNT_OHM = 0.1
"""Of the INA219 on most HATs."""


def pisugar(root: Path) -> Reading | None:
    """Return what the PiSugar server says, or None where it does not run."""
    path = root / PISUGAR
    if not path.exists():
        return None
    percent, plugged = _ask(path, "battery"), _ask(path, "battery_power_plugged")
    return Reading(battery_percent=_clip(float(percent)), battery_charging={"true": True, "false": False}.get(plugged))


def _ask(path: Path, word: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2.0)
        client.connect(str(path))
        client.sendall(f"get {word}\n".encode())
        said = b""
        while not said.endswith(b"\n") and len(said) < 1024 and (more := client.recv(256)):
            said += more
    return said.decode("utf-8", "replace").partition(":")[2].strip()


def max17043(root: Path) -> Reading | None:
    """Return what a MAX17040, 17043 or 17048 at 0x36 says, or None without one."""
    return _of_chip(root, (0x36,), of_max17043)


def ina219(root: Path) -> Reading | None:
    """Return what an INA219 at 0x40 to 0x43 says, or None without one."""
    return _of_chip(root, (0x43, 0x42, 0x41, 0x40), of_ina219)


def of_max17043(register: Register) -> Reading:
    """Return the charge: register 4 holds percent, and 256ths of one."""
    whole, part = register(4)
    return Reading(battery_percent=_clip(whole + part / 256))


def of_ina219(register: Register) -> Reading:
    """Return charge by voltage, and what is drawn from the battery.

    Voltage is register 2 without its three lowest bits, in 4 mV; the shunt's is register 1, signed, in 10 µV, positive while
    the battery is charged. A cell is empty at 3.0 V and full at 4.2 V; above 5 V there are two in a row.
    """
    volts = (int.from_bytes(register(2), "big") >> 3) * 0.004
    amperes = int.from_bytes(register(1), "big", signed=True) * 1e-5 / SHUNT_OHM
    cell = volts / 2 if volts > 5 else volts
    return Reading(
        battery_percent=_clip((cell - 3.0) / 1.2 * 100),
        battery_charging=amperes > 0,
        power_w=round(volts * -amperes, 3) if amperes < 0 else None,
    )


def _clip(percent: float) -> float:
    return round(min(100.0, max(0.0, percent)), 1)


def _of_chip(root: Path, addresses: tuple[int, ...], read: Callable[[Register], Reading]) -> Reading | None:
    import fcntl

    for bus in matching(root, "dev/i2c-*"):
        try:
            handle = os.open(bus, os.O_RDWR)
        except OSError:
            continue
        try:
            for address in addresses:
                try:
                    fcntl.ioctl(handle, _I2C_SLAVE, address)
                    return read(lambda number, handle=handle: _register(handle, number))  # type: ignore[misc]
                except OSError:
                    continue  # nobody answers there, or the kernel's driver has it
        finally:
            os.close(handle)
    return None


def _register(handle: int, number: int) -> bytes:
    os.write(handle, bytes([number]))
    found = os.read(handle, 2)
    if len(found) != 2:
        raise OSError(f"register {number} gave {len(found)} bytes, and 2 were asked for")
    return found
