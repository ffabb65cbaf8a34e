"""The crowds of a run: processes that hold the devices, told what to do and asked how they are."""

import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from .link import Line
from .orders import Count, Order, Who, add
from .processes import pss_mb, python
from .world import FLEET, World

DEVICES_A_PROCESS = 5000


class Fleet:
    """`with Fleet(world, 1000) as fleet:` has the devices ready and without power."""

    def __init__(
        self,
        world: World,
        devices: int,
        *,
        processes: int = 0,
        slow: Line | None = None,
        slow_percent: int = 0,
        clock_late_s: float = 0.0,
    ) -> None:
        self.world, self.numbers = world, tuple(range(devices))
        # Two, where there are cores for it: more only wait for each other.
        count = processes or max(1 if devices < 500 else 2, -(-devices // DEVICES_A_PROCESS))
        self._whos = [
            Who(
                numbers=self.numbers[place::count], fleet=FLEET, host="127.0.0.1", port=world.broker_port,
                root=world.root, slow=slow, slow_percent=slow_percent, clock_late_s=clock_late_s,
            )
            for place in range(count)
        ]  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []
        self._counts: list[Count] = [Count() for _ in self._whos]

    def __enter__(self) -> "Fleet":
        log = (self.world.folder / "crowd.log").open("ab")
        with log:
            for place, who in enumerate(self._whos):
                process = subprocess.Popen(
                    python("edgefleet_sim.crowd"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
                )
                self._processes.append(process)
                assert process.stdin is not None
                process.stdin.write(msgspec.json.encode(who) + b"\n")
                process.stdin.flush()
                threading.Thread(target=self._listen, args=(place, process), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _listen(self, place: int, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._counts[place] = msgspec.json.decode(line, type=Count)

    def order(self, **fields: object) -> None:
        """Tell every crowd."""
        line = msgspec.json.encode(Order(**fields)) + b"\n"  # type: ignore[arg-type]
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()

    def count(self) -> Count:
        """Return how the devices were half a second ago."""
        for process in self._processes:
            if process.poll() is not None:
                words = (self.world.folder / "crowd.log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"a crowd ended by itself with {process.returncode}: {words}")
        return add(self._counts)

    def until(
        self,
        what: str,
        holds: Callable[[Count], bool],
        timeout_s: float,
        say: Callable[[str], None] = lambda words: None,
    ) -> float:
        """Wait until `holds(count)`; return after how many seconds. Raises TimeoutError that says how it stood."""
        began = said = time.monotonic()
        while not holds(count := self.count()):
            now = time.monotonic()
            if now - began > timeout_s:
                raise TimeoutError(f"in {timeout_s:.0f} s this did not come: {what}; {words(count)}")
            if now - said > 2:
                said = now
                say(f"{what}: {words(count)}")
            time.sleep(0.2)
        return time.monotonic() - began

    def pss_mb(self) -> float:
        """Return the memory of all crowds."""
        return sum(pss_mb(process.pid) for process in self._processes)


def words(count: Count) -> str:
    """Return how the devices are, in one line."""
    proven = ", ".join(f"{number} proven {name}" for name, number in count.proven.items()) or "none proven"
    phases = ", ".join(f"{number} {name}" for name, number in count.phases.items())
    return f"{count.connected} of {count.devices} connected; {proven}; {phases}"


def spread(numbers: Sequence[int], percent: float) -> tuple[int, ...]:
    """Return `percent` of the numbers, evenly taken, at least one."""
    count = max(1, round(len(numbers) * percent / 100))
    return tuple(numbers[int(place * len(numbers) / count)] for place in range(count))
