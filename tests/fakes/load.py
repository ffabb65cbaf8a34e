"""An application on a device: asks its model over and over with the client library, and checks each answer exactly."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np

from edgefleet_client import ClientError, Model, Prediction

from .tiny_model import answers, samples

PAUSE_S = 0.05


class Load:
    """`with Load(socket, "fashion", seed_of) as load:` asks until the end. The tiny models' answers are known to the last bit.

    seed_of: the seed of the tiny model that a release's variant is; it may learn of more releases while this runs.
    """

    def __init__(self, socket: Path, model: str, seed_of: Callable[[str, str], int]) -> None:
        self.failures: list[str] = []
        self.by_release: Counter[str] = Counter()
        self._socket, self._model, self._seed_of = socket, model, seed_of
        self._inputs = np.asarray(samples(4711, 64), dtype=np.float32)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"load {socket.parent.parent.name}", daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def answered(self) -> int:
        """Right answers so far."""
        return self.by_release.total()

    def ask(self) -> str:
        """Ask once, on a new connection; return the release that gave the right answer. Raises ClientError."""
        with Model(self._model, socket=self._socket) as model:
            return self._check(0, model.predict(self._inputs[0]))

    def _run(self) -> None:
        with Model(self._model, socket=self._socket) as model:
            number = 0
            while not self._ending.wait(PAUSE_S):
                number = (number + 1) % len(self._inputs)
                try:
                    release = self._check(number, model.predict(self._inputs[number]))
                except (ClientError, AssertionError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                else:
                    self.by_release[release] += 1

    def _check(self, number: int, said: Prediction) -> str:
        right = answers(self._seed_of(said.release, said.variant), [self._inputs[number].tolist()])
        assert np.array_equal(said.array, np.asarray(right, dtype=np.float32)), f"{said.release} is wrong: {said.array}"
        return said.release
