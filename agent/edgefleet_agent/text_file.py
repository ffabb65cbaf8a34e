"""Reading a file that a person named: a pipe in its place would be waited for, and a device has no end."""

import os
import stat
from pathlib import Path
from typing import TextIO


class NotRegular(OSError):
    """A name that leads to a pipe, a device or a folder."""

    def __init__(self) -> None:
        super().__init__("it is no regular file")
        self.strerror = "it is no regular file"


def open_text(path: Path) -> TextIO:
    """Return the file at `path`, open for reading as UTF-8; raise OSError, NotRegular at once for what is no regular file."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), encoding="utf-8")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise NotRegular


def read_text(path: Path) -> str:
    """Return what the file at `path` holds, as `open_text` opens it."""
    with open_text(path) as file:
        return file.read()
