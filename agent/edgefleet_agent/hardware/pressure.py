"""How much tasks wait for memory, as the kernel's pressure stall information says."""

from pathlib import Path

from .files import text


def memory_pressure_percent(root: Path) -> float | None:
    """Return the share of the last ten seconds in which some task waited for memory; None where the kernel does not say."""
    for line in (text(root / "proc/pressure/memory") or "").splitlines():
        words = line.split()
        if words[:1] == ["some"]:
            for word in words[1:]:
                name, _, value = word.partition("=")
                if name == "avg10":
                    try:
                        return min(100.0, max(0.0, float(value)))
                    except ValueError:
                        return None
    return None
