"""The seam to inference runtimes: what opens a model and runs it. A variant names its runtime by a word of the registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgefleet_protocol.manifest import TensorSpec

from ..tuning import Tuning
from .errors import CannotOpen, NoRuntime

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = Any


@dataclass(frozen=True)
class Setup:
    """How a model is opened, beyond where it lies and on what."""

    tuning: Tuning
    engines: Path | None = None
    """Where the provider keeps what it builds."""
    build: bool = False
    """Whether something may be built: in a trial, never in serving."""
    profile: str = ""
    """The one shape of each input for which an engine is built, as `serve.providers.shape_profile` writes it."""


class Session(Protocol):
    """An open model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As the file says; -1 where a dimension is free."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """As the file says; -1 where a dimension is free."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output for `inputs`, C-contiguous. Releases Python's lock while it computes."""


class Runtime(Protocol):
    """Something that opens models."""

    def open(self, path: Path, provider: str, threads: int, setup: Setup | None = None) -> Session:
        """Return the model at `path`, on `provider` and no other; raise CannotOpen, with the reason, when it cannot.

        threads: of one inference, unless `setup` says otherwise.
        """


RUNTIMES: dict[str, str | Callable[[], Runtime]] = {"onnxruntime": "edgefleet_agent.serve.runtime_onnx"}
"""By name: the module whose `runtime()` makes it, imported when first asked for, or such a function itself."""


def named(name: str) -> Runtime:
    """Return the runtime called `name`; raise CannotOpen when there is none, NoRuntime when it cannot be imported."""
    entry = RUNTIMES.get(name)
    if entry is None:
        raise CannotOpen(f"no runtime is called {name!r}; this agent knows {', '.join(sorted(RUNTIMES))}")
    try:
        make = import_module(entry).runtime if isinstance(entry, str) else entry
        runtime: Runtime = make()
    except Exception as error:  # a broken library says so in many ways
        raise NoRuntime(f"the runtime {name} cannot be imported: {error}. Install edgefleet-agent[runtime]") from error
    return runtime
