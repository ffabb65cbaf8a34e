"""Saying how far it is: bars on a terminal, a line for each step and epoch elsewhere. Always on standard error."""

import sys
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class Progress(Protocol):
    """What a running step tells."""

    def begin(self, title: str) -> None:
        """A step began."""

    def advance(self, done: int, of: int, found: str = "") -> None:
        """So many of its epochs are done. found: what the last one came to, or nothing."""

    def end(self, result: str) -> None:
        """It is finished, with this to say."""

    def __enter__(self) -> "Progress":
        """Use it in a `with`: a terminal is given back as it was."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""


class Silent:
    """Says nothing: for use as a library."""

    def begin(self, title: str) -> None:
        """Do nothing."""

    def advance(self, done: int, of: int, found: str = "") -> None:
        """Do nothing."""

    def end(self, result: str) -> None:
        """Do nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


class Lines(Silent):
    """One line when a step ends, and one for each epoch of a step that trains, set in."""

    def __init__(self) -> None:
        self._title, self._since = "", 0.0

    def begin(self, title: str) -> None:
        """Remember what began, and when."""
        self._title, self._since = title, time.monotonic()

    def advance(self, done: int, of: int, found: str = "") -> None:
        """Print how far it is: hours without a word look like a process that hangs."""
        words = f"epoch {done} of {of}" + (f", {found}" if found else "")
        print(f"  {self._title}: {words} ({time.monotonic() - self._since:.1f} s)", file=sys.stderr, flush=True)

    def end(self, result: str) -> None:
        """Print what ended, what came of it and the seconds it took."""
        print(f"{self._title}: {result} ({time.monotonic() - self._since:.1f} s)", file=sys.stderr, flush=True)


class Terminal(Silent):
    """A bar for the step that runs, lines above it for those that are done."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._title, self._since = "", 0.0

    def begin(self, title: str) -> None:
        """Show a bar for it."""
        self._title, self._since = title, time.monotonic()
        self._task = self._bars.add_task(title, total=None)

    def advance(self, done: int, of: int, found: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=of)

    def end(self, result: str) -> None:
        """Turn the bar into a line."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = None
        self._bars.console.print(
            f"[green]✓[/] {self._title}  [dim]{result}, {time.monotonic() - self._since:.1f} s[/]", highlight=False
        )

    def __enter__(self) -> "Terminal":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def for_this_terminal() -> Progress:
    """Return bars where standard error is a terminal, lines where it is not."""
    return Terminal() if sys.stderr.isatty() else Lines()
