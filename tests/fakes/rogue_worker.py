"""A worker whose runtimes misbehave, each in its own way. Started as a program in the place of the real worker's."""

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgefleet_agent.serve import worker
from edgefleet_agent.serve.errors import CannotOpen
from edgefleet_agent.serve.runtime import RUNTIMES, Array, Runtime, Setup
from edgefleet_protocol.manifest import TensorSpec

FEATURES, CLASSES = 12, 4


class Rogue:
    """Session and runtime in one: does `behaviour` when it runs, or when it opens where that says so."""

    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour
        self._kept: list[bytearray] = []
        self._warm = False
        self._home = 0
        self.inputs = (TensorSpec(name="image", datatype="FP32", shape=(-1, FEATURES)),)
        self.outputs = (TensorSpec(name="scores", datatype="FP32", shape=(-1, CLASSES)),)

    def open(self, path: Path, provider: str, threads: int, setup: Setup | None = None) -> "Rogue":
        """Return itself, unless it misbehaves already here."""
        if self._behaviour == "never-opens":
            time.sleep(3600)
        if self._behaviour == "builds" and setup is not None:
            _engine(path, setup)
        if self._behaviour == "calls-home":
            self._home = int((path.parent / "home").read_text())
        return self

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Behave once, so that a worker becomes ready, and then misbehave."""
        was_warm, self._warm = self._warm, True
        match self._behaviour if was_warm else "":
            case "hangs":
                time.sleep(3600)
            case "spins":
                while True:
                    pass
            case "slow":
                time.sleep(0.3)
            case "illegal":
                os.kill(os.getpid(), signal.SIGILL)
            case "exits":
                sys.stderr.write("first words\nthe sky fell\n")
                sys.stderr.flush()
                os._exit(7)
            case "leaks":
                while True:
                    self._kept.append(bytearray(16 * 1024 * 1024))
            case "calls-home":
                raise CannotOpen(_call_home(self._home))
        return {"scores": np.zeros((len(inputs["image"]), CLASSES), np.float32)}


def _call_home(port: int) -> str:
    """Try to reach a listener of the device, and say how that went."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError as error:
        return f"no way out: {error}"
    return "reached it"


def _engine(path: Path, setup: Setup) -> None:
    """Use the engine that is there, or build it slowly where that is allowed: in a trial."""
    assert setup.engines is not None
    engine = setup.engines / "model.engine"
    if engine.exists():
        return
    if not setup.build:
        raise CannotOpen("there is no engine, and none is built in serving")
    time.sleep(0.5)
    engine.write_text(f"{setup.profile} of {path.name}")


def _maker(behaviour: str) -> Runtime:
    if behaviour == "no-module":
        raise ImportError("libonnxruntime.so.1: cannot open shared object file")
    if behaviour == "illegal-import":
        os.kill(os.getpid(), signal.SIGILL)
    return Rogue(behaviour)


BEHAVIOURS = (
    "well",
    "never-opens",
    "hangs",
    "spins",
    "slow",
    "illegal",
    "exits",
    "leaks",
    "calls-home",
    "no-module",
    "illegal-import",
)
for each in (*BEHAVIOURS, "builds"):
    RUNTIMES[each] = lambda each=each: _maker(each)  # type: ignore[misc]

if __name__ == "__main__":
    os._exit(worker.main())
