"""Which network interface is the way out: the default route's, from /proc, without asking any network manager."""

from pathlib import Path

from .files import text

_UP = 0x1


def way_out(root: Path) -> str | None:
    """Return the interface of the default route with the lowest metric, of IPv4 before IPv6; None when there is none."""
    return _of_ipv4(root) or _of_ipv6(root)


def _of_ipv4(root: Path) -> str | None:
    found = []
    for line in (text(root / "proc/net/route") or "").splitlines()[1:]:
        # Iface Destination Gateway Flags RefCnt Use Metric Mask ...
        row = line.split()
        if len(row) >= 8 and row[1] == row[7] == "00000000" and _number(row[3], 16) & _UP:
            found.append((_number(row[6], 10), row[0]))
    return min(found)[1] if found else None


def _of_ipv6(root: Path) -> str | None:
    found = []
    for line in (text(root / "proc/net/ipv6_route") or "").splitlines():
        # destination length source length next-hop metric references uses flags interface
        row = line.split()
        if len(row) == 10 and row[1] == "00" and row[0] == "0" * 32 and row[9] != "lo" and _number(row[8], 16) & _UP:
            found.append((_number(row[5], 16), row[9]))
    return min(found)[1] if found else None


def _number(word: str, base: int) -> int:
    try:
        return int(word, base)
    except ValueError:
        return 0
