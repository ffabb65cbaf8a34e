"""Cutting a device off: its certificate onto the list, the list to the broker, and the connection that stands ended.

The order matters, as was tried: a broker with the new list refuses the next connection and leaves the present one; one that ends the
present connection first lets the thief in again. Each step is told, and all of it can be done again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import NotFound, ServerError

SETTLE_S = 1.0
"""A reload is asked for and not waited for; who came in between goes with the second kick."""


@dataclass(frozen=True)
class Step:
    """One thing that was to be done. `done` is None for one that was left out because the one before failed."""

    name: str
    done: bool | None
    words: str


def cut_off(
    device: str,
    *,
    revoke: Callable[[], str],
    place: Callable[[], str],
    reload: Callable[[], str],
    kick: Callable[[str], str],
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Step, ...]:
    """Do the four steps in their order and return what became of each; a step after one that failed is left out.

    Raises NotFound when there is nothing to revoke.
    """

    def twice() -> str:
        kick(device)
        pause(SETTLE_S)
        return kick(device)

    steps: list[Step] = []
    for name, act in (("revoke", revoke), ("list", place), ("reload", reload), ("disconnect", twice)):
        if steps and not steps[-1].done:
            steps.append(Step(name, None, "left out, because the step before it is not done"))
            continue
        try:
            steps.append(Step(name, True, act()))
        except NotFound:
            raise
        except (ServerError, OSError) as error:
            steps.append(Step(name, False, str(error)))
    return tuple(steps)
