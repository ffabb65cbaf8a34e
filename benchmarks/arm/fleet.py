"""An emulated device in a real fleet: server and Mosquitto on this machine, the agent inside its own emulated system.

It enters its region, is offered the package as a signed release, fetches it over MQTT, verifies its signatures, tries the
variant that it chose, serves it, and tells the server.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_compress.package.variants import read
from edgefleet_protocol.codec import encode
from tests.fakes import fleet as real
from tests.fakes.repository import publish_release

from .boards import board
from .container import command, environment
from .emulated import Processor
from .places import say

REGION, OBJECTIVE = "lab", "latency"
PATIENCE_S = 1800.0
"""Of the whole; a busy machine takes minutes to start an emulated agent."""
LOAD_S = 600.0
"""Instead of what the release allows a board to load in: the emulator's time is no board's."""
EMULATOR_BYTES = 150_000_000
"""Added to each bound of memory and to what the board has free, for the emulator and what it translated: 140 MB were seen where a board is allowed 95."""


class EmulatedFleet(real.Fleet):
    """A fleet whose agent runs on an emulated processor. `with EmulatedFleet(root, processor) as fleet:`"""

    def __init__(self, root: Path, processor: Processor) -> None:
        policies: dict[str, dict[str, Any]] = {REGION: {"objective": OBJECTIVE, "telemetry_interval_s": 5.0}}
        super().__init__((), policies=policies)
        self._root, self._processor = root, processor
        place = self.folder / "boards" / processor.sample
        board(place, processor)
        _widen(place / "proc/meminfo")
        self.members[processor.sample] = real.Member(processor.sample, str(place), REGION)

    def __enter__(self) -> "EmulatedFleet":
        super().__enter__()
        return self

    def start_agent(self, name: str) -> None:
        """Start an agent inside."""
        words = ["/usr/bin/edgefleet-agent", "run", "--config", str(self.agent_toml(name))]
        inside = command(self._root, self._processor, words, self.folder)
        self.parts.start(name, [f"{__package__}.fleet", *inside])

    def close(self) -> None:
        """End everything; what runs inside is ended with its namespace."""
        for name in self.members:
            if self.parts.runs(name):
                self.parts.kill(name)
        super().close()

    def publish(self, package: Path) -> str:
        """Sign and publish a package, with room for the emulator in its bounds, and return the release's name."""
        patient = self.folder / "packages" / package.name
        shutil.copytree(package, patient)
        release, _ = read(package)
        variants = []
        for row in release.variants:
            bound = row.requires.memory_bytes + EMULATOR_BYTES
            bounds = msgspec.structs.replace(row.requires, load_s=LOAD_S, memory_bytes=bound)
            variants.append(msgspec.structs.replace(row, requires=bounds))
        (patient / "release.json").write_bytes(encode(msgspec.structs.replace(release, variants=tuple(variants))))
        name = publish_release(self.trust, patient)
        self.until(f"{name} is listed", lambda: any(row["release"] == name for row in self.items("/v1/releases")))
        return name


def _widen(meminfo: Path) -> None:
    """A Pi Zero has 220 MB free of 437: too little for a worker and an emulator around it."""
    words = meminfo.read_text()
    free = re.search(r"MemAvailable: +(\d+) kB", words)
    assert free is not None, f"{meminfo} does not say MemAvailable"
    meminfo.write_text(words.replace(free[0], f"MemAvailable: {int(free[1]) + EMULATOR_BYTES // 1024} kB"))


def joined(root: Path, processor: Processor, package: Path) -> dict[str, Any]:
    """Return what the server knows in the end of the device and the model that it serves.

    Raises AssertionError, with the ends of all logs, when something does not come.
    """
    real.PATIENCE_S = PATIENCE_S
    name = processor.sample
    say(f"{processor.title}: starting a broker, a server and an emulated agent")
    with EmulatedFleet(root, processor) as fleet:
        release = fleet.publish(package)
        say(f"  rolling out {release}")
        try:
            fleet.begin(release, probation_s=1.0, probation={"min_requests": 0})
            fleet.until(f"{name} serves {release}", fleet.runs, name, release)
            fleet.until(f"the server knows how {name} is", lambda: fleet.device(name)["battery_percent"] is not None)
            model = fleet.model(name, release.partition("/")[0])
            say(f"  {name} serves {model['variant']}")
            return {"release": release, "model": model, **fleet.device(name)}
        except AssertionError as error:
            error.add_note(fleet.words())
            raise


if __name__ == "__main__":
    # The fleet starts its parts as modules of Python: this one becomes the command.
    os.execvpe(sys.argv[1], sys.argv[1:], environment())
