"""Processors of the boards, and running Python on one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .fetch import emulator, system
from .places import LabError, listened


@dataclass(frozen=True)
class Processor:
    """A CPU that the emulator can be, and a board that has it."""

    name: str
    """As QEMU calls it."""
    title: str
    sample: str
    """The board, as a sample of the agent's hardware room."""
    boards: str
    suite: str = "trixie"
    """Of Debian, whose emulator has it."""


PROCESSORS = (
    Processor("cortex-a53", "Cortex-A53", "pi-zero-2-w", "Pi Zero 2 W, Pi 3"),
    Processor("cortex-a72", "Cortex-A72", "pi4", "Pi 4"),
    Processor("cortex-a76", "Cortex-A76", "pi5", "Pi 5"),
    # The Carmel cores of Xavier are in no QEMU.
    Processor("cortex-a78ae", "Cortex-A78AE", "orin-nano", "Orin", "sid"),
)


def python(
    processor: Processor,
    words: Sequence[str],
    modules: Path,
    *,
    emulator_file: Path | None = None,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    log: Path,
) -> str:
    """Run Debian's arm64 Python with `words` on `processor` and return what it printed. Its errors are shown and go to `log`.

    No chroot and no rights are needed: the emulator finds the system's libraries in its folder, and files of this machine
    by their own names. emulator_file, options: another emulator than the processor's, and more for it.
    """
    root = system()
    command = [str(emulator_file or emulator(processor.suite)), "-cpu", processor.name, "-L", str(root), *options]
    # One thread for numpy's library: those that wait spin, which takes the time of those that work.
    for name, value in {"PYTHONPATH": str(modules), "OPENBLAS_NUM_THREADS": "1", **(env or {})}.items():
        command += ["-E", f"{name}={value}"]
    code, said, last = listened([*command, str(root / "usr/bin/python3"), *words], log)
    if code != 0:
        raise LabError(f"on {processor.title} Python ended with {code}: {last} ({log})")
    return said
