"""Windows of telemetry: closed on time, sent several at once from memory, and put into the outbox only when they cannot be sent."""

import zlib
from dataclasses import dataclass, field

from msgspec.structs import replace

from edgefleet_protocol.codec import encode
from edgefleet_protocol.leaving import leaving
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import (
    BATCH_WINDOWS,
    MAX_BATCH_BYTES,
    MAX_WINDOWS,
    TelemetryBatch,
    Window,
    held_back_s,
)

from .observe import Now
from .store.outbox import Key, Outbox, key_of

STORE_AFTER_S = 600.0
"""A window that the broker did not take for so long goes to disk."""
MAX_IN_MEMORY = 240
SEND_AGAIN_S = 120.0
"""A batch without an answer is sent again; the server counts a window once."""


@dataclass
class Telemetry:
    """The queue of one device."""

    device: str
    outbox: Outbox
    waiting: list[tuple[float, Window]] = field(default_factory=list)
    """(closed at, window), the oldest first."""
    gone: frozenset[Key] = frozenset()
    """Of the outbox: what the broker has, and what the disk, full or read-only, would not let go of. Not sent again, and tried again later."""
    in_flight: tuple[int, frozenset[Key], float] | None = None
    policy: Policy = field(default_factory=Policy)
    """The region's, of now: how long a window is, and which measurements may leave this device."""
    hurry: bool = False
    """A model is on trial or on probation, and a rollout waits for what is measured: each window goes out at once."""

    def add(self, window: Window, now: float) -> None:
        """Take a window that was closed."""
        self.waiting.append((now, window))
        if now - self.waiting[0][0] >= STORE_AFTER_S or len(self.waiting) > MAX_IN_MEMORY:
            self.store()

    def store(self) -> None:
        """Put every window that is still here on disk: offline for long, or the agent ends."""
        under_way = self.in_flight[1] if self.in_flight is not None else frozenset()
        if self.waiting and self.outbox.add((window for _, window in self.waiting), under_way):
            self.waiting.clear()
        while len(self.waiting) > MAX_IN_MEMORY:
            del self.waiting[0]
            self.outbox.dropped += 1

    def due(self, now: float) -> bool:
        """Return whether it is time to send: enough windows wait, or one for long enough, or somebody waits for them."""
        if self.hurry or self.outbox.count() > len(self.gone):
            return True  # what lies in the outbox was held back for longer than it should
        if not self.waiting:
            return False
        began = self.waiting[0][1].started_monotonic_s
        return len(self.waiting) >= BATCH_WINDOWS or now >= began + held_back_s(self.policy.telemetry_interval_s)

    def batch(self, moment: Now, boot: str, dropped: int) -> tuple[bytes, frozenset[Key]] | None:
        """Return the next message and the names of its windows; None while it is not time, or one is under way.

        boot: the boot of now, whose windows are dated anew where the clock came right since.
        """
        now = moment.monotonic_s
        if self.in_flight is not None and now < self.in_flight[2] + SEND_AGAIN_S:
            return None
        if not self.due(now):
            return None
        count = MAX_WINDOWS
        while count:
            windows = self.outbox.oldest(count, self.gone)
            windows += [window for _, window in self.waiting[: count - len(windows)]]
            if not windows:
                return None
            left = tuple(
                leaving(dated(window, boot, moment), self.policy.telemetry_fields) for window in windows
            )  # by the rules of now, whenever it was measured
            batch = TelemetryBatch(device=self.device, windows=left, dropped_windows=dropped)
            payload = zlib.compress(encode(batch))
            if len(payload) <= MAX_BATCH_BYTES or len(windows) == 1:
                return payload, frozenset(key_of(window) for window in windows)
            count = len(windows) // 2
        return None

    def sent(self, number: int, keys: frozenset[Key], now: float) -> None:
        """A batch is under way under the link's `number`."""
        self.in_flight = (number, keys, now)

    def acknowledged(self, number: int) -> None:
        """The broker has it: forget its windows, in memory and on disk."""
        if self.in_flight is None or self.in_flight[0] != number:
            return
        keys = self.in_flight[1]
        self.in_flight = None
        here = {key_of(window) for _, window in self.waiting}
        self.waiting = [(at, window) for at, window in self.waiting if key_of(window) not in keys]
        self.gone |= keys - here
        if self.outbox.remove(self.gone):
            self.gone = frozenset()

    def new_session(self) -> None:
        """What was under way may be lost."""
        self.in_flight = None


def dated(window: Window, boot: str, now: Now) -> Window:
    """Return `window` with the time at which it began, where its clock was wrong and is right now.

    Only within one boot: there the time since is known. Its name, by which it is forgotten and counted once, stays as it is.
    """
    if window.clock_trusted or not now.clock_trusted or window.boot != boot:
        return window
    start_s = round(now.wall_s - (now.monotonic_s - window.started_monotonic_s), 3)
    return replace(window, start_s=start_s, clock_trusted=True)
