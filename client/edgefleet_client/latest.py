"""Frames that come faster than the model answers: only the newest is asked, older ones are dropped and counted."""

import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

from .errors import ClientError
from .model import Model
from .prediction import Prediction


class Latest:
    """Asks a model with the newest frame, on a thread of its own.

        with Latest(Model("fashion", wait_s=60)) as latest:
            for frame in camera:
                latest.offer(frame)              # returns at once
                if (found := latest.newest()):   # of an earlier frame, once each
                    print(found.label)

    `dropped` counts frames that a newer one overtook, `failed` those that got an error, `last_error` has the last one.
    """

    def __init__(self, model: Model, on_answer: Callable[[Prediction, Any], None] | None = None) -> None:
        """on_answer: called on that thread with each answer and the `tag` of its frame, instead of `newest`."""
        self._model, self._on_answer = model, on_answer
        self._changed = threading.Condition()
        self._frame: tuple[object, Any] | None = None
        self._answer: Prediction | None = None
        self._ending = False
        self.dropped = 0
        self.failed = 0
        self.last_error: ClientError | None = None
        self._thread = threading.Thread(target=self._run, name="edgefleet-latest", daemon=True)
        self._thread.start()

    def offer(self, frame: object | Mapping[str, object], tag: Any = None) -> None:
        """Hand over a frame, which must not be written to afterwards; one that still waits is dropped for it."""
        with self._changed:
            if self._ending:
                raise ValueError("this Latest is closed")
            self.dropped += self._frame is not None
            self._frame = (frame, tag)
            self._changed.notify_all()

    def newest(self, timeout_s: float = 0.0) -> Prediction | None:
        """Return the newest answer that was not returned yet; None when none comes within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._answer is not None or self._ending, timeout_s)
            answer, self._answer = self._answer, None
            return answer

    def __iter__(self) -> Iterator[Prediction]:
        """Yield answers until it is closed."""
        while True:
            answer = self.newest(1.0)
            if answer is not None:
                yield answer
            elif self._ending:
                return

    def close(self) -> None:
        """End the thread; a frame that waits is not asked any more."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> "Latest":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frame is not None or self._ending)
                if self._ending or self._frame is None:
                    return
                (frame, tag), self._frame = self._frame, None
            try:
                answer = self._model.predict(frame)
            except ClientError as error:
                with self._changed:
                    self.failed += 1
                    self.last_error = error
                continue
            if self._on_answer is not None:
                self._on_answer(answer, tag)
                continue
            with self._changed:
                self._answer = answer
                self._changed.notify_all()
