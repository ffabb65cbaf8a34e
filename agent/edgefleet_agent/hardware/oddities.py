"""What is odd about a system, in words for its owner: named from what the kernel says, and never guessed at."""

import struct
from pathlib import Path, PurePosixPath

from .board import machine
from .files import text

_GONE = ("tmpfs", "ramfs")
"""File systems that live in memory."""


def oddities(root: Path, state: Path, given_machine: str | None = None) -> tuple[str, ...]:
    """Return a warning for each oddity of the system below `root`, none on an ordinary one.

    state: the agent's state folder, as the mount table names it. given_machine: instead of what `uname -m` says.
    """
    found = (
        narrow_userland(machine(root, given_machine), struct.calcsize("P") * 8),
        state_that_goes(text(root / "proc/mounts") or "", text(root / "proc/cmdline") or "", state),
    )
    return tuple(words for words in found if words is not None)


def narrow_userland(arch: str, pointer_bits: int) -> str | None:
    """Return a warning when a 64-bit kernel (`arch`, as `uname -m` says) runs a Python of fewer bits."""
    if arch not in ("aarch64", "x86_64") or pointer_bits >= 64:
        return None
    return (
        f"the kernel is {arch} and this Python has {pointer_bits} bits: no runtime is published for it; "
        "install the system's 64-bit edition"
    )


def state_that_goes(mounts: str, cmdline: str, state: Path) -> str | None:
    """Return a warning when what is written to `state` is gone at the next reboot.

    mounts, cmdline: what /proc/mounts and /proc/cmdline say. An overlay is named only where its upper layer is known to lie in
    memory, or the kernel was started with a read-only root: a container's overlay stays as long as the container.
    """
    table = [_row(line) for line in mounts.splitlines() if len(line.split()) >= 4]
    at = _mount_of(table, PurePosixPath(state))
    if at is None:
        return None
    source, where, kind, options = at
    advice = "devices would fetch everything anew and lose their identity; put `state` on a file system that stays"
    if kind in _GONE:
        return f"{state} lies on {kind} at {where}: it is gone at reboot; {advice}"
    if kind != "overlay":
        return None
    upper = next((word[len("upperdir=") :] for word in options.split(",") if word.startswith("upperdir=")), "")
    below = _mount_of([row for row in table if row[1] != "/"], PurePosixPath(upper)) if upper else None
    words = cmdline.split()
    started = "boot=overlay" in words or any(word.startswith("overlayroot=") and "tmpfs" in word for word in words)
    if started or (source == "overlayroot" and not upper) or (below is not None and below[2] in _GONE):
        return f"{state} lies on a read-only root with an overlay in memory: it is gone at reboot; {advice}"
    return None


_Mount = tuple[str, str, str, str]


def _row(line: str) -> _Mount:
    """Return source, folder, type and options; the kernel writes a space within them as \\040."""
    source, where, kind, options = (word.replace("\\040", " ") for word in line.split()[:4])
    return source, where, kind, options


def _mount_of(table: list[_Mount], path: PurePosixPath) -> _Mount | None:
    """Return the mount that holds `path`: the longest folder above it, and of two at one folder the later."""
    best: _Mount | None = None
    for row in table:
        if path.is_relative_to(row[1]) and (best is None or len(row[1]) >= len(best[1])):
            best = row
    return best
