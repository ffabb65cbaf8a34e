"""Many devices in one process: one loop over their sockets and wake times. Orders come as lines of JSON, and so do answers.

`python -m edgefleet_sim.crowd`; the first line says who the devices are. Ends when its input does.
"""

import gc
import heapq
import itertools
import os
import resource
import selectors
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from .device import Device
from .files import open_all_files
from .link import Line
from .looker import SharedLooker
from .orders import Count, Order, Who

SAY_EVERY_S = 0.5
SHARE = 20.0
"""Between two counts pass at least so many times what one takes: of thousands of devices counting was a sixth of the work."""
LEAST_TURN_S = 0.05
"""After something came, a device waits so long for more before it takes its turn: a message alone is not worth one."""
MAX_EVENTS = 512


class Crowd:
    """The devices of one process."""

    def __init__(self, who: Who, scratch: Path) -> None:
        self.who, self.looker = who, SharedLooker(scratch)
        self.devices: dict[int, Device] = {}
        self.clones: list[Device] = []
        self.selector = selectors.DefaultSelector()
        self._heap: list[tuple[float, int, Device]] = []
        self._tie = itertools.count()
        self._at: dict[int, float] = {}
        self._watched: dict[int, tuple[int, int]] = {}
        self._later: list[tuple[float, int, str, int]] = []
        self._torn: set[int] = set()
        self._back_s: list[float] = []
        self._torn_at = 0.0
        self._turns = 0
        for number in who.numbers:
            line = who.slow if who.slow is not None and number % 100 < who.slow_percent else Line()
            late = who.clock_late_s if number % 3 == 0 else 0.0
            self.devices[number] = Device(
                number, who.name(number), who.fleet, (who.host, who.port), who.root, self.looker, line, late
            )

    # --- orders

    def obey(self, order: Order) -> None:
        """Do what an order says, now or spread over its time."""
        now = time.monotonic()
        if order.do == "tear":
            self._torn, self._torn_at, self._back_s = set(), now, []
        mine = [number for number in (order.numbers or self.who.numbers) if number in self.devices]
        for place, number in enumerate(mine):
            at = now + order.over_s * place / max(1, len(mine))
            heapq.heappush(self._later, (at, next(self._tie), order.do, number))
            if order.do == "cut" and order.down_s is not None:
                heapq.heappush(self._later, (at + order.down_s, next(self._tie), "boot", number))

    def _do(self, what: str, number: int) -> None:
        device = self.devices[number]
        if what == "boot" and device.agent is None:
            device.boot()
            self._wake(device, 0.0)
        elif what == "cut":
            self._unwatch(device)
            device.cut()
        elif what == "tear" and device.link is not None and device.link.session is not None:
            self._unwatch(device)
            device.link.tear()
            self._torn.add(number)
            self._wake(device, 0.0)
        elif what == "clone":
            copy = device.clone()
            self.clones.append(copy)
            copy.boot()
            self._wake(copy, 0.0)

    # --- the loop

    def run(self) -> None:
        """Turn until the orders end."""
        self.selector.register(0, selectors.EVENT_READ, None)
        os.set_blocking(0, False)
        say_at, pending = 0.0, b""
        while True:
            now = time.monotonic()
            ends = [say_at]
            if self._heap:
                ends.append(self._heap[0][0])
            if self._later:
                ends.append(self._later[0][0])
            for key, events in self.selector.select(max(0.0, min(ends) - now)):
                if key.data is None:
                    data = os.read(0, 1 << 20)
                    if not data:
                        return
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        self.obey(msgspec.json.decode(line, type=Order))
                    continue
                self._moved(key.data, events)
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                _, _, what, number = heapq.heappop(self._later)
                self._do(what, number)
            self._turn_those_due(now)
            if now >= say_at:
                began = time.process_time()
                sys.stdout.write(msgspec.json.encode(self.count()).decode() + "\n")
                sys.stdout.flush()
                say_at = time.monotonic() + max(SAY_EVERY_S, SHARE * (time.process_time() - began))

    def _moved(self, device: Device, events: int) -> None:
        link = device.link
        if link is None:
            return
        before = link.session
        if events & selectors.EVENT_WRITE:
            link.write()
        if events & selectors.EVENT_READ:
            link.read()
        if link.session is not None and before is None:
            self._connected(device)
        self._watch(device)
        self._wake(device, time.monotonic() + LEAST_TURN_S)

    def _connected(self, device: Device) -> None:
        if device.number in self._torn:
            self._torn.discard(device.number)
            self._back_s.append(time.monotonic() - self._torn_at)

    def _turn_those_due(self, now: float) -> None:
        for _ in range(MAX_EVENTS):
            if not self._heap or self._heap[0][0] > now:
                return
            at, _, device = heapq.heappop(self._heap)
            if self._at.get(id(device)) != at:
                continue  # it was woken for an earlier time since
            del self._at[id(device)]
            self._turn(device)

    def _turn(self, device: Device) -> None:
        agent, link = device.agent, device.link
        if agent is None or link is None:
            return
        link.step()
        again = agent.turn(time.monotonic())
        self._turns += 1
        link.write() if link.socket is not None and link.connects_done else None
        self._watch(device)
        self._wake(device, max(min(again, link.due()), time.monotonic() + LEAST_TURN_S))

    def _wake(self, device: Device, at: float) -> None:
        known = self._at.get(id(device))
        if known is not None and known <= at:
            return
        self._at[id(device)] = at
        heapq.heappush(self._heap, (at, next(self._tie), device))

    def _watch(self, device: Device) -> None:
        """Let the selector know what the device's socket waits for."""
        link = device.link
        handle = -1 if link is None or link.socket is None else link.socket.fileno()
        known = self._watched.get(id(device))
        if link is None or handle < 0:
            self._unwatch(device)
            return
        read, write = link.wants()
        mask = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        if known == (handle, mask):
            return
        if known is not None:
            self._unwatch(device)
        if mask:
            try:
                self.selector.register(handle, mask, device)
            except KeyError:  # an old socket of this number was closed elsewhere
                self.selector.modify(handle, mask, device)
            self._watched[id(device)] = (handle, mask)

    def _unwatch(self, device: Device) -> None:
        known = self._watched.pop(id(device), None)
        if known is not None:
            try:
                key = self.selector.get_key(known[0])
            except KeyError:
                return
            if key.data is device:
                self.selector.unregister(known[0])

    # --- what is told

    def count(self) -> Count:
        """Return how the devices are now."""
        proven: dict[str, int] = {}
        serving: dict[str, int] = {}
        phases: dict[str, int] = {}
        served: dict[str, int] = {}
        connected = regions = on = unsent = 0
        every = [*self.devices.values(), *self.clones]
        for device in every:
            for name in device.served:
                served[name] = served.get(name, 0) + 1
            if device.agent is None or device.link is None:
                continue
            on += 1
            connected += device.link.session is not None
            unsent += device.link.unsent
            regions += device.agent.store.facts.facts.region is not None
            state = device.agent.state
            for row in state.models if state else ():
                phases[row.phase] = phases.get(row.phase, 0) + 1
                if row.running is not None:
                    serving[row.running.release] = serving.get(row.running.release, 0) + 1
                    if row.running.proven:
                        proven[row.running.release] = proven.get(row.running.release, 0) + 1
        return Count(
            devices=len(every), on=on, connected=connected, assigned=regions, proven=proven, serving=serving,
            phases=phases, served=served, unsent=unsent, torn=len(self._torn), back_s=sorted(self._back_s), turns=self._turns,
            cpu_s=sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), looks_asked=self.looker.asked,
            looks_made=self.looker.looked,
        )  # fmt: skip


def main() -> int:
    """Read who the devices are from the first line, and run."""
    open_all_files()
    # Unbuffered: what comes after the first line is for the loop.
    with open(0, "rb", buffering=0, closefd=False) as first:
        who = msgspec.json.decode(first.readline(), type=Who)
    gc.set_threshold(50_000, 50, 1000)  # what lives here lives long
    with tempfile.TemporaryDirectory(
        prefix="sim-look-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        Crowd(who, Path(folder)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
