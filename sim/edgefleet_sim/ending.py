"""SIGTERM ends a run as Ctrl-C does: with its broker, server and crowds."""

import signal
from types import FrameType


def end_on_sigterm() -> None:
    """From now on SIGTERM raises KeyboardInterrupt in the main thread."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
