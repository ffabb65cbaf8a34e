"""The first boot of a sealed image: enrol before anything else, for as long as it takes."""

import random
import signal
import threading
from collections.abc import Callable
from types import FrameType

from . import enrol_seed
from .config import Config
from .enrol_try import Try
from .identity import FOLDER
from .log import LOG
from .notify import Notifier

RETRY_MIN_S, RETRY_MAX_S = 5.0, 900.0
POLL_S = 0.1


def enrolled(config: Config, dice: Callable[[], float] = random.random) -> bool:
    """Enrol when there is a seed and no identity; return False when a signal said to end first.

    Tries until it succeeds: a network may come, somebody may approve. The wait doubles, with full jitter, so that a
    whole fleet that is switched on does not come in step.
    """
    if (config.state / FOLDER).is_dir():
        if (config.state / enrol_seed.FOLDER).is_dir():  # the power went between the two
            enrol_seed.forget(config.state)
        return True
    if enrol_seed.load(config.state) is None:
        return True
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _until_enrolled(config, stopped, dice)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _until_enrolled(config: Config, stopped: threading.Event, dice: Callable[[], float]) -> bool:
    failures, told = 0, ""
    machine = ("--machine", config.hardware.machine) if config.hardware.machine else ()
    LOG.info("this device has no identity yet: it enrols")
    manager = Notifier()
    manager.ready()  # it may take days until somebody approves: to the service manager this is a service that works
    manager.status("no identity yet: it enrols")
    while not stopped.is_set():
        one = Try("enrol", config.state, "--root", str(config.hardware.root), *machine)
        while (ended := one.outcome()) is None:
            manager.alive()
            if stopped.wait(POLL_S):
                one.stop()
                return False
        if ended.outcome == "done":
            LOG.info("%s", ended.words)
            return True
        if ended.words != told:
            told = ended.words
            LOG.warning("not enrolled yet: %s; it is tried again", told)
        wait_s = ended.after_s * (0.8 + 0.4 * dice()) if ended.outcome == "later" else retry_s(failures, dice)
        failures = 0 if ended.outcome == "later" else failures + 1
        _wait(stopped, wait_s, manager)
    return False


def _wait(stopped: threading.Event, seconds: float, manager: Notifier) -> None:
    """Wait, showing the service manager meanwhile that this goes on."""
    left = seconds
    while left > 0 and not stopped.is_set():
        manager.alive()
        piece = min(left, manager.at_most_s or left)
        stopped.wait(piece)
        left -= piece


def retry_s(failures: int, dice: Callable[[], float]) -> float:
    """Return how long to wait after so many failures: anything up to a limit that doubles, and never nothing."""
    limit = min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(failures, 10))
    return max(1.0, dice() * limit)
