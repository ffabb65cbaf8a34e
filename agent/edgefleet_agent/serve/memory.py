"""How much memory a process uses, from /proc, and how it gives back what it holds for later."""

import contextlib
import ctypes
import gc
from pathlib import Path


def pss_bytes(process: Path) -> int | None:
    """Return the proportional set size of `process` (/proc/<pid>), or None when the kernel does not say.

    About 2.5 ms a read: once a window, not once a request.
    """
    return _field(process / "smaps_rollup", "Pss:")


def peak_bytes(process: Path) -> int | None:
    """Return the largest proportional set size so far, estimated.

    The kernel keeps a peak of the resident size only. What comes and goes between peak and now is the process' own
    memory (pages that are shared, its libraries, stay), so the proportional size was larger by as much.
    """
    pss, rss, peak = (
        pss_bytes(process),
        _field(process / "status", "VmRSS:"),
        _field(process / "status", "VmHWM:"),
    )
    if pss is None or rss is None or peak is None:
        return pss
    return pss + max(0, peak - rss)


def give_back() -> None:
    """Return what was freed to the system: the C library keeps it, and the limits of a worker count it."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


def _field(path: Path, name: str) -> int | None:
    try:
        text = path.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None
