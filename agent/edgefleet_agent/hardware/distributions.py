"""Which version of a Python distribution is installed, without importlib.metadata: that costs the agent's process 1 MB for as long as it runs."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path


def version(name: str, path: Sequence[str] | None = None) -> str | None:
    """Return the version of the distribution called `name` by the folder that its installer made; None when there is none.

    path: folders to look into, instead of those that modules are imported from.
    Source: "Recording installed projects" of the Python packaging guide: NAME-VERSION.dist-info; setup.py wrote .egg-info.
    """
    wanted = _plain(name)
    for folder in sys.path if path is None else path:
        try:
            entries = [entry.name for entry in Path(folder or ".").iterdir()]
        except OSError:  # a zip archive, or a folder that is not there
            continue
        for entry in entries:
            found = re.fullmatch(r"([^-]+)-([^-]+)(?:-[^-]+)?\.(?:dist|egg)-info", entry)
            if found is not None and _plain(found[1]) == wanted:
                return found[2]
    return None


def _plain(name: str) -> str:
    """As names of distributions are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()
