"""Which inferences are under way, and since when: how the agent tells a worker that hangs from one that has much to do."""

import dataclasses
import itertools
import threading
import time
from collections.abc import Mapping

import msgspec

from .messages import Counted
from .model import Model
from .runtime import Array, Session


class Pulse:
    """Notes the beginning and the end of every inference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[int, float] = {}
        self._numbers = itertools.count()

    def watched(self, model: Model) -> Model:
        """Return `model`, each inference of which is noted."""
        return dataclasses.replace(model, session=_Watched(model.session, self))

    def beside(self, counted: Counted) -> Counted:
        """Return `counted`, with how long the oldest inference has been running."""
        with self._lock:
            oldest = min(self._began.values(), default=None)
        return msgspec.structs.replace(counted, busy_s=None if oldest is None else time.monotonic() - oldest)

    def begin(self) -> int:
        """Note a beginning; return its number."""
        with self._lock:
            number = next(self._numbers)
            self._began[number] = time.monotonic()
        return number

    def end(self, number: int) -> None:
        """Note the end of what has this number."""
        with self._lock:
            self._began.pop(number, None)


class _Watched:
    """A session that says when it works."""

    def __init__(self, session: Session, pulse: Pulse) -> None:
        self._session, self._pulse = session, pulse
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        number = self._pulse.begin()
        try:
            return self._session.run(inputs)
        finally:
            self._pulse.end(number)
