"""Reading small files of /proc and /sys, of which any may be missing or unreadable."""

from pathlib import Path


def text(path: Path) -> str | None:
    """Return the file's text without white space at its ends, or None when it cannot be read."""
    try:
        return path.read_bytes()[:65536].decode("utf-8", "replace").strip().strip("\0")
    except OSError:
        return None


MOST = 2**53
"""Beyond it is no number of a kernel's, and none that a document may hold."""


def whole(path: Path) -> int | None:
    """Return the whole number in the file, or None; also for one that no kernel would say."""
    found = text(path)
    try:
        number = int(found) if found is not None else None
    except ValueError:
        return None
    return number if number is not None and abs(number) <= MOST else None


def strings(path: Path) -> tuple[str, ...]:
    """Return the strings of a device-tree property, which a NUL ends each."""
    found = text(path)
    return tuple(part for part in (found or "").split("\0") if part)


def fields(path: Path) -> dict[str, str]:
    """Return `name: value` lines by name, the first of each."""
    result: dict[str, str] = {}
    for line in (text(path) or "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            result.setdefault(name.strip(), value.strip())
    return result


def kilobytes(path: Path, name: str) -> int | None:
    """Return the bytes that a line such as `MemTotal: 3884360 kB` says, or None."""
    value = fields(path).get(name, "").split()
    # Not isdigit alone: a superscript is a digit, too, and no number.
    if not value or not (value[0].isascii() and value[0].isdigit()) or len(value[0]) > len(str(MOST)):
        return None
    return min(MOST, int(value[0]) * 1024)


def matching(root: Path, pattern: str) -> list[Path]:
    """Return what `pattern` matches below `root`, in order; nothing where the folder may not be read."""
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []
