"""Saying what happens, as it happens: one line for each thing, with the seconds since the start."""

import sys
import time
from typing import TextIO


class Narrator:
    """Prints to standard output, or to standard error when that belongs to JSON."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._began

    def act(self, text: str) -> None:
        """A new part of the job begins."""
        print(f"\n{self.seconds:6.1f} s  {text}", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Something happened in it."""
        print(f"{self.seconds:6.1f} s    {text}", file=self._stream, flush=True)

    def plain(self, text: str) -> None:
        """A table or the like, as it stands."""
        print(text, file=self._stream, flush=True)
