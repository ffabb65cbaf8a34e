"""Do the models of a package give their golden answers? Asked in a child with bounded memory, time and processor time."""

import subprocess
import sys
from pathlib import Path

from .errors import BadPackage
from .golden_child import NO_RUNTIME, RIGHT

WALL_S = 900


def check_golden(package: Path) -> bool:
    """Return True when every variant answers as the package says, False when no runtime is here to ask.

    Raises BadPackage, naming the variants, for wrong answers or a child that died. Devices have processors of their own:
    each asks again before it serves. Call it after the package passed the guard.
    """
    command = [sys.executable, "-m", "edgefleet_trust.golden_child", str(package)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=WALL_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise BadPackage(f"{package}: its golden inputs are not answered within {WALL_S} s") from error
    if done.returncode == NO_RUNTIME:
        return False
    if done.returncode != RIGHT:
        words = done.stdout.strip() or done.stderr.strip()[-500:] or f"the check ended with code {done.returncode}"
        raise BadPackage(f"{package}: golden answers are not given: {words}")
    return True
