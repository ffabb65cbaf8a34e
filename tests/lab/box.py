"""A device in a box: a Debian root with a real systemd, booted by systemd-nspawn, on a cable that can be plugged in and pulled.

Its processes are seen from outside by their own ids, so a limit on memory can be put around them here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nsenter": "util-linux", "ip": "iproute2"}
INCLUDED = "systemd,systemd-sysv,dbus,python3,iproute2,curl,man-db"
MACHINE = "eflab"
CABLE = f"ve-{MACHINE}"
OUTSIDE, INSIDE = "10.177.77.1", "10.177.77.2"
BOOT_S, STEP_S = 90.0, 0.2
UNIT = "edgefleet-agent"


class NoBox(Exception):
    """The box cannot be made here; the message says what to do."""


class Box:
    """`Box(folder, "bookworm")`: `make`, `boot`, then `run` commands in it."""

    def __init__(self, folder: Path, suite: str) -> None:
        """folder: where roots are kept; the one of a suite is made once and copied for each run."""
        self.base, self.root = folder / suite, folder / f"device-{suite}"
        self.log = folder / f"boot-{suite}.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def make(self) -> None:
        """Make a fresh root; raise NoBox when that cannot be done."""
        missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
        if os.geteuid() != 0 or missing:
            more = f"; and apt-get install {' '.join(missing)}" if missing else ""
            raise NoBox(f"it needs root, to boot a container: sudo make device-lab{more}")
        ready = self.base.with_name(f"{self.base.name}.ready")
        if not ready.exists() or ready.read_text() != INCLUDED:
            self.base.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.base, ignore_errors=True)
            made = subprocess.run(
                ["mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", f"--include={INCLUDED}",
                 self.base.name, str(self.base)],
                capture_output=True, text=True,
            )  # fmt: skip
            if made.returncode != 0:
                raise NoBox(f"mmdebstrap {self.base.name}: {made.stderr.strip()[-500:]}")
            ready.write_text(INCLUDED)
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.base), str(self.root)], check=True)

    def boot(self) -> float:
        """Boot, without a network; return the seconds until systemd says that it is up."""
        began = time.monotonic()
        with self.log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "-D", str(self.root), "-b", "--register=no", "--keep-unit", "--network-veth",
                 f"--machine={MACHINE}", "--console=passive"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # A systemd of today knows only the one hierarchy of control groups.
                env={**os.environ, **({} if self.base.name == "bookworm" else {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})},
            )  # fmt: skip
        while time.monotonic() - began < BOOT_S:
            self._init = self._first_process()
            if self._init and self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                return time.monotonic() - began
            time.sleep(STEP_S)
        raise NoBox(f"the container did not come up in {BOOT_S:.0f} s: {self.log}")

    def plug(self) -> None:
        """Put the cable in."""
        for command in (
            ["ip", "address", "replace", f"{OUTSIDE}/24", "dev", CABLE],
            ["ip", "link", "set", CABLE, "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)
        self.must("ip", "address", "replace", f"{INSIDE}/24", "dev", "host0")
        self.must("ip", "link", "set", "host0", "up")

    def cut(self) -> None:
        """Cut the power: nothing in there has another moment."""
        if self._nspawn is None:
            return
        if self._init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
        else:
            self._nspawn.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(20)
        if self._nspawn.poll() is None:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn, self._init = None, 0

    def command(self, *words: str) -> list[str]:
        """Return the command that runs `words` in there, as root."""
        return ["nsenter", "-t", str(self._init), "-a", *words]

    def run(self, *words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command in there to its end."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout_s)

    def must(self, *words: str, timeout_s: float = 120.0) -> str:
        """Run a command in there; return what it printed, and fail when it fails."""
        done = self.run(*words, timeout_s=timeout_s)
        assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-600:]}"
        return done.stdout

    def agent(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `edgefleet agent …` as the user of the service."""
        return self.run(*AS_AGENT, "edgefleet", "agent", *words, "--config", "/etc/edgefleet/agent.toml")

    def status(self) -> dict[str, object]:
        """Return what `edgefleet agent status` says; empty where it says nothing."""
        done = self.agent("status", "--json")
        said: dict[str, object] = json.loads(done.stdout) if done.returncode == 0 else {}
        return said

    def shown(self, name: str, unit: str = UNIT) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()

    def main_pid(self) -> int:
        """Return the agent's process as it is called in there; 0 for none."""
        return int(self.shown("MainPID") or 0)

    @property
    def first_process(self) -> int:
        """Its systemd, as it is called out here."""
        return self._init

    def journal(self, lines: int = 3) -> str:
        """Return the agent's last words."""
        return " | ".join(
            self.run("journalctl", "-u", UNIT, "-n", str(lines), "-o", "cat", "--no-pager").stdout.splitlines()
        )

    def processes(self) -> dict[int, str]:
        """Return the processes of the service by their ids out here, with their command lines."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                group = (folder / "cgroup").read_text()
                if int(folder.name) and "edgefleet" in group and self._is_inside(folder):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ").strip()
        return found

    def _is_inside(self, folder: Path) -> bool:
        return (folder / "ns/pid").readlink() == Path(f"/proc/{self._init}/ns/pid").readlink()

    def _first_process(self) -> int:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise NoBox(f"systemd-nspawn ended with {self._nspawn.returncode}: {self.log.read_text()[-500:]}")
        task = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        said = task.read_text().split()
        return int(said[0]) if said else 0


AS_AGENT = ("setpriv", "--reuid=edgefleet", "--regid=edgefleet", "--init-groups")
