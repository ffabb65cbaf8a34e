"""The files beside a workload that it imports: they are part of it, so they go into its digest, and they stay its own.

`import tinynet` in two workloads of one process means two files. So what lies below a workload's folder is in
`sys.modules` only while that workload is at work; pickles of its classes are written and read during that time.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

LIBRARIES = ("site-packages", "dist-packages")
"""A virtual environment may lie below the workload's folder; what is installed there is nobody's neighbour."""


class Neighbours:
    """Modules whose file lies below `folder`, but for the workload itself."""

    def __init__(self, workload: Path) -> None:
        self.workload = workload.resolve()
        self.folder = self.workload.parent
        self._main: dict[str, ModuleType] = {}
        self._modules: dict[str, ModuleType] = {}
        self._files: set[Path] = set()

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Return each Python file that ran, by its name below the folder, in order."""
        return sorted((path.relative_to(self.folder).as_posix(), path) for path in self._files)

    def belongs_to(self, name: str, module: ModuleType) -> None:
        """Say which module is the workload itself: it is findable by its name, and each workload finds its own."""
        self._main = {name: module}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let `import` find the neighbours inside the `with`, and leave no trace of them outside."""
        before = set(sys.modules)
        hidden = {name: sys.modules[name] for name in self._modules if name in sys.modules}
        sys.modules.update(self._modules | self._main)
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()  # a file may be younger than the last look into the folder
        # A compiled file is told from an old one by whole seconds and size: an edit could be missed.
        write_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        _listening.append(self)
        _install_hook()
        try:
            yield
        finally:
            _listening.remove(self)
            sys.dont_write_bytecode = write_bytecode
            sys.path.remove(str(self.folder))
            for name in set(sys.modules) - before:
                if self._owns(sys.modules[name]):
                    self._modules[name] = sys.modules[name]
            for name in self._modules:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)

    def ran(self, file: str) -> None:
        """Remember that the code of `file` ran, whether by `import` or by a path, when it is a neighbour's."""
        path = Path(file)
        if path.suffix == ".py" and self._below(path):
            self._files.add(path.resolve())

    def _owns(self, module: ModuleType) -> bool:
        # A package without __init__.py has no file, only folders.
        paths = [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", []))
        return any(self._below(Path(str(path))) for path in paths)

    def _below(self, path: Path) -> bool:
        whole = path.resolve()
        if whole == self.workload or not whole.is_relative_to(self.folder):
            return False
        inside = whole.relative_to(self.folder).parts
        return not any(part in LIBRARIES for part in inside)


_listening: list[Neighbours] = []
_hooked = False


def _install_hook() -> None:
    """Hear of every piece of code that is run. A hook cannot be taken out again, so there is one, which mostly sleeps."""
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "exec" and _listening and isinstance(arguments[0], CodeType):
        file = arguments[0].co_filename
        if not file.startswith("<"):
            for neighbours in tuple(_listening):
                neighbours.ran(file)
