"""Run inside the arm64 system, by the device's own Python: what the agent says of the board, chooses, and serves.

`guest.py BOARD PACKAGE POLICIES` prints one JSON object. BOARD is a root of files as the board's kernel would show them, and
POLICIES names objectives. Only modules of the agent's package are used, and their worker processes are real.
"""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_agent.hardware import runtimes
from edgefleet_agent.hardware.probe import HardwareProbe
from edgefleet_agent.seams import TrialReport, WorkerSpec
from edgefleet_agent.serve.dev import Options, find
from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_agent.serve.memory import pss_bytes
from edgefleet_protocol.choose import choose
from edgefleet_protocol.codec import decode
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Policy

WAIT_S = 600.0
"""For one step: importing the runtime alone takes half a minute on a busy machine."""
STATE = Path("/tmp/state")


def main(board: Path, package: Path, objectives: list[str]) -> None:
    """Print everything."""
    runtimes.ASK_S = WAIT_S
    STATE.mkdir(parents=True, exist_ok=True)
    # The emulated processor's own words, in the place of the board's.
    (board / "proc/cpuinfo").write_text(Path("/proc/cpuinfo").read_text())
    probe = HardwareProbe(STATE, board, keep=False)
    say("asking the agent what it is on")
    hardware = probe.hardware()
    release = decode((package / "release.json").read_bytes(), Release)
    chosen: dict[str, dict[str, Any]] = {}
    for objective in objectives:
        choice = choose(release, hardware, msgspec.convert({"objective": objective}, Policy))
        chosen[objective] = {
            "variant": choice.taken.name if choice.taken else None,
            "why": choice.why,
            "excluded": {row.variant: row.reason for row in choice.table if row.verdict == "excluded"},
        }
    said: dict[str, Any] = {
        "machine": platform.machine(),
        "hardware": msgspec.to_builtins(hardware),
        "window": msgspec.to_builtins(probe.device_window()),
        "chosen": chosen,
        "tried": {},
        "bare_python_bytes": bare_python(),
    }
    launcher = ProcessLauncher(Path("/tmp/models"))
    try:
        said["limits"] = dict(launcher.limits_held())
        names = dict.fromkeys(row["variant"] for row in chosen.values() if row["variant"])
        for name in names:
            say(f"trying {name}")
            report = tried(launcher, specification(package, name))
            said["tried"][name] = msgspec.to_builtins(dataclasses.asdict(report))
        first = next(iter(names), None)
        if first is not None:
            say(f"serving {first}")
            said["served"] = {"variant": first, **served(launcher, specification(package, first))}
    finally:
        launcher.close()
    say("running the service without a broker")
    said["service"] = service(board)
    print(json.dumps(said))


def service(board: Path) -> dict[str, Any]:
    """Run the agent as its unit does, with no broker to be found; return what it says of itself, and how it ended."""
    folder = Path("/tmp/service")
    folder.mkdir()
    (folder / "root.json").write_text("{}")
    (folder / "agent.toml").write_text(
        f'fleet = "lab"\ndevice = "emulated"\nroot = "root.json"\nstate = "state"\nrun = "run"\n'
        f'[broker]\nport = 1\n[hardware]\nroot = "{board}"\n'
    )
    command, config = "/usr/bin/edgefleet-agent", ["--config", str(folder / "agent.toml")]
    with subprocess.Popen([command, "run", *config], stdin=subprocess.DEVNULL) as running:
        end = time.monotonic() + WAIT_S
        while not (folder / "run/state.json").exists():
            if running.poll() is not None or time.monotonic() > end:
                running.kill()
                return {"why_not": f"it ended with {running.poll()} or told nothing in {WAIT_S:.0f} s"}
            time.sleep(0.2)
        status = json.loads(asked([command, "status", *config, "--json"]))
        checked = json.loads(asked([command, "check", *config, "--json"]))
        memory = pss_bytes(Path("/proc") / str(running.pid))
        running.terminate()
        code = running.wait(WAIT_S)
    return {"status": status, "check": checked, "memory_bytes": memory, "exit_code": code}


def asked(command: list[str]) -> str:
    """Return what a verb printed; `check` ends with 1 here, for want of a broker."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S).stdout


def specification(package: Path, variant: str) -> WorkerSpec:
    """Return what the agent would start for a variant of the package."""
    return next(find(Options(package, variant=variant), STATE))


def tried(launcher: ProcessLauncher, spec: WorkerSpec) -> TrialReport:
    """Return the report of a trial, as before a switch."""
    trial = launcher.try_out(spec, WAIT_S)
    while (report := trial.poll()) is None:
        time.sleep(0.1)
    return report


def served(launcher: ProcessLauncher, spec: WorkerSpec) -> dict[str, Any]:
    """Serve the variant, and ask its golden inputs as an application does, through the socket."""
    worker = launcher.start(spec)
    end = time.monotonic() + WAIT_S
    while (state := worker.poll()) != "ready":
        if state == "dead" or time.monotonic() > end:
            return {"why_not": worker.why_dead() if state == "dead" else "it did not become ready"}
        time.sleep(0.1)
    worker.accept()
    asking = launcher.begin_golden(spec, WAIT_S)
    while (asked := asking.poll()) is None:
        time.sleep(0.01)
    counted = worker.served()
    worker.stop(1.0)
    return {"why_not": asked.why_not, "requests": counted.requests, "memory_bytes": counted.memory_bytes}


def bare_python() -> int | None:
    """Return the memory of a Python that does nothing: most of it is the emulator's, and no board would spend it."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        return pss_bytes(Path("/proc") / str(child.pid))


def say(words: str) -> None:
    """Print progress."""
    print(f"arm-lab:   {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.umask(0o077)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(","))
