"""What took long to find is held for a while, so that however many look, finding it takes a tenth of the time at most."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
TIMES = 10
MOST = 200


class Held(Generic[T]):
    """Answers by key. What is found faster than `slow_s` is not held: a small fleet is always shown as it is now."""

    def __init__(self, slow_s: float) -> None:
        self._slow_s = slow_s
        self._lock = threading.Lock()
        self._known: dict[Hashable, tuple[float, T]] = {}

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return what is held under `key`, or what `find` returns."""
        began, worked = time.monotonic(), time.thread_time()
        with self._lock:
            known = self._known.get(key)
        if known is not None and began < known[0]:
            return known[1]
        found = find()
        took = time.thread_time() - worked  # not the wall's: on a busy machine nothing takes short
        if took > self._slow_s:
            with self._lock:
                fresh = {name: row for name, row in self._known.items() if began < row[0]}
                self._known = {**dict(list(fresh.items())[-MOST:]), key: (began + (1 + TIMES) * took, found)}
        return found
