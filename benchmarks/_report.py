"""The last line of every benchmark: one JSON object."""

import json
import os
import platform
import subprocess
from pathlib import Path


def machine() -> str:
    """Name the processor and the cores, as far as the system says."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def commit() -> str:
    """The commit that was measured, with `+changes` when the tree was not clean."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if git("status", "--porcelain") else "")


def report(bench: str, figures: dict[str, float]) -> None:
    """Print the object."""
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"bench": bench, "commit": commit(), "machine": machine(), "figures": rounded}))
