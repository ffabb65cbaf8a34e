"""The live stream: one task looks at the fleet once a second, however many people watch, and tells what changed.

After `ready` whatever changes is told: whoever then asks how things stand, and follows the stream, misses nothing.

Messages have a name (`event:`) and a number (`id:`). Numbers count up while the server runs, and the last LAST messages are
kept: whoever comes back with `Last-Event-ID` gets those that it missed, or, when they are gone, `reset`: look anew.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from ..store.database import Unavailable
from ..store.outage import Outage

LOG = logging.getLogger(__name__)
EVERY_S = 1.0
COMMENT_S = 15.0
"""A line that says nothing goes out at least so often: proxies end what is silent for half a minute."""
LAST = 2000
MOST_WATCHERS = 500
MOST_WAITING = 200
"""Messages of one watcher who does not read them; then its stream ends, and it comes back for the rest."""
STAY = ("rollout", "alert")
"""What is there until it is over, and then that is told; what happened only leaves the newest ones."""
Key = tuple[str, str | None, str]
Regions = frozenset[str] | None


@dataclass(frozen=True)
class Message:
    """One message, and who may see it: those with rights in `region`; None is only for rights everywhere."""

    number: int
    event: str
    region: str | None
    data: str

    def text(self, epoch: str) -> str:
        """Return it as it goes over the line."""
        return f"id: {epoch}-{self.number}\nevent: {self.event}\ndata: {self.data}\n\n"


@dataclass(eq=False)
class Watcher:
    """One open stream."""

    regions: Regions
    region: str | None
    queue: "asyncio.Queue[Message | None]" = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def wants(self, message: Message) -> bool:
        """Whether a message is for it. A fleet's summary of regions that it may not see is not."""
        if message.region is None:
            return self.regions is None and self.region is None
        return (self.regions is None or message.region in self.regions) and self.region in (None, message.region)


class Live:
    """Tells watchers what changed. It looks only while somebody watches.

    look: returns what there is, by (event, region, name), as plain objects; it runs in a thread. outage: of the database that it reads.
    """

    def __init__(self, look: Callable[[], dict[Key, Any]], epoch: str, outage: Outage | None = None) -> None:
        self._look, self._epoch, self._outage = look, epoch, outage or Outage()
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._known: dict[Key, str] | None = None
        self._last: deque[Message] = deque(maxlen=LAST)
        self._number = 0
        self._ended = False
        self.looks = 0

    async def watch(
        self,
        regions: Regions,
        region: str | None,
        last_id: str | None,
        *,
        may_still: Callable[[], bool] = lambda: True,
        seconds: float | None = None,
    ) -> AsyncIterator[str]:
        """Yield lines of the stream until the watcher goes away, `seconds` are over, or they may not see it any more.

        may_still: asked in a thread each COMMENT_S.
        """
        loop, began, asked = asyncio.get_running_loop(), time.monotonic(), time.monotonic()
        if self._ended:
            return
        watcher = Watcher(regions, region)
        # What was missed first, and in the same breath it is among those that are told: nothing falls in between.
        missed = self._since(last_id)
        self._watchers.add(watcher)
        try:
            self._begin()
            yield f"retry: 2000\n: edgefleet {self._epoch}\n\n"
            while self._known is None and not self._ended and (seconds is None or time.monotonic() < began + seconds):
                await asyncio.sleep(0.05)  # until the first look; a look that fails is tried again each second
            word = "reset" if missed is None else "ready"
            yield f"id: {self._epoch}-{self._number}\nevent: {word}\ndata: {{}}\n\n"
            for message in missed or ():
                if watcher.wants(message):
                    yield message.text(self._epoch)
            while (left := COMMENT_S if seconds is None else began + seconds - time.monotonic()) > 0:
                try:
                    told = await asyncio.wait_for(watcher.queue.get(), min(left, COMMENT_S))
                except TimeoutError:
                    yield ": \n\n"
                else:
                    if told is None:
                        return
                    yield told.text(self._epoch)
                if time.monotonic() - asked >= COMMENT_S:
                    if not await loop.run_in_executor(None, may_still):
                        return
                    asked = time.monotonic()
        finally:
            self._watchers.discard(watcher)

    def end(self) -> None:
        """End every stream, so that nobody has to be cut off; called on the loop that they run on."""
        self._ended = True
        for watcher in tuple(self._watchers):
            self._watchers.discard(watcher)
            with contextlib.suppress(asyncio.QueueFull):  # then its end is in there already
                watcher.queue.put_nowait(None)

    @property
    def full(self) -> bool:
        """Whether nobody more may watch."""
        return len(self._watchers) >= MOST_WATCHERS

    @property
    def watching(self) -> bool:
        """Whether somebody watches, and the fleet is looked at."""
        return self._task is not None and not self._task.done()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._watchers:
            try:
                found = await run_in_threadpool(self._look)
                self._tell({key: json.dumps(value, ensure_ascii=False) for key, value in found.items()})
                self.looks += 1
                self._outage.works("live stream")
            except Unavailable as error:
                self._outage.met("live stream", error)  # the last watcher may leave before it is over
            except Exception:  # a locked database now may be well in a second
                LOG.exception("the live stream could not look")
            await asyncio.sleep(EVERY_S)
        # Nobody watches: what changes until somebody does is not known, and whoever comes back looks anew.
        self._known = None
        self._last.clear()
        self._number += 1

    def _tell(self, found: dict[Key, str]) -> None:
        known, self._known = self._known, found
        if known is None:
            return
        changed = [(key, data) for key, data in found.items() if known.get(key) != data]
        gone = sorted(key for key in known.keys() - found.keys() if key[0] in STAY)
        changed += [(("gone", key[1], key[2]), json.dumps({"of": key[0], "name": key[2]})) for key in gone]
        for (event, region, _), data in changed:
            self._number += 1
            message = Message(self._number, event, region, data)
            self._last.append(message)
            for watcher in tuple(self._watchers):
                if watcher.wants(message):
                    self._hand(watcher, message)

    def _hand(self, watcher: Watcher, message: Message) -> None:
        if watcher.queue.qsize() >= MOST_WAITING - 1:
            self._watchers.discard(watcher)
            watcher.queue.put_nowait(None)
        else:
            watcher.queue.put_nowait(message)

    def _since(self, last_id: str | None) -> list[Message] | None:
        """Return what came after `last_id`, nothing for a first visit, None when that is not known any more."""
        if last_id is None:
            return []
        epoch, _, number = last_id.rpartition("-")
        if epoch != self._epoch or not number.isascii() or not number.isdigit() or int(number[:18]) > self._number:
            return None
        seen = int(number)
        if seen < self._number and (not self._last or self._last[0].number > seen + 1):
            return None
        return [message for message in self._last if message.number > seen]
