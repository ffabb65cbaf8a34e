"""Whether workers can have units of their own here, and which limits hold: found out by a process with nothing else to do."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ..log import LOG
from .errors import NoUnit
from .units import BEGIN_S, LOOK_INTO, Called

DOOR = "EDGEFLEET_WORKER_DOOR"
"""The environment's word for where workers in units of their own are asked for; the agent's unit says it."""
PACKAGED_DOOR = Path("/run/edgefleet-worker/door")
"""As that unit says it, where nobody says another."""
TRY_S = 20.0
AGAIN_S = 600.0
"""How long workers are children before a unit is asked for again, at a start that is due anyhow: asking may take `BEGIN_S`."""


class Units:
    """Where workers get units of their own, while systemd gives any."""

    def __init__(self, door: Path | None) -> None:
        """door: None where workers are children always."""
        self._door = door
        self._limits: dict[str, str] | None = None
        self._ask_at: float | None = None
        """None until a unit was asked for once."""

    def limits(self) -> dict[str, str] | None:
        """Return which limits hold in a unit; None while none can be had. The first call waits for one."""
        if self._ask_at is None:
            self._ask()
        return self._limits

    def door(self) -> Path | None:
        """Return where to ask for a unit for a worker that starts now; None when it is to be a child. May wait for one."""
        if self._limits is None and (self._ask_at is None or time.monotonic() >= self._ask_at):
            self._ask()
        return self._door if self._limits is not None else None

    def refused(self, why: str) -> None:
        """Note that a worker got none: the next ones are children, until a unit is asked for again."""
        LOG.warning(
            "no unit for a worker: %s. Workers are children of the agent, and a unit is asked for again in %.0f min",
            *(why, AGAIN_S / 60),
        )
        self._limits, self._ask_at = None, time.monotonic() + AGAIN_S

    def _ask(self) -> None:
        self._ask_at = time.monotonic()
        if self._door is None:
            return
        try:
            self._limits = limits_in_unit(self._door)
        except NoUnit as error:
            self.refused(str(error))


def limits_in_unit(door: Path) -> dict[str, str]:
    """Return which limits hold in a unit that was asked for at `door`; raise NoUnit where none came. Waits for that."""
    given = os.memfd_create("order")
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        unit = Called(door, [given, theirs])
    except OSError as error:
        os.close(ours)
        raise NoUnit(f"{door}: {error.strerror}") from error
    finally:
        os.close(given)
        os.close(theirs)
    try:
        code = unit.wait(BEGIN_S + TRY_S)
        os.set_blocking(ours, False)
        said: dict[str, str] = json.loads(os.read(ours, 65536).splitlines()[-1])
    except (subprocess.TimeoutExpired, BlockingIOError, IndexError, ValueError) as error:
        raise NoUnit(f"{unit.why_none or 'it did not say its limits'}; {LOOK_INTO}") from error
    finally:
        unit.kill()
        os.close(ours)
    if code != 0:
        raise NoUnit(f"it ended with exit code {code}; {LOOK_INTO}")
    return said


def limits_in_child() -> dict[str, str]:
    """Return which limits hold in a child of this process."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "edgefleet_agent.serve.limits"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRY_S,
            check=True,
            cwd="/",
        )
        said: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return dict.fromkeys(("memory", "network", "cpu"), f"none: they could not be tried: {error}")
    return said
