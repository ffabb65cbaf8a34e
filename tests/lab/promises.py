"""What a device promises, each as a function that makes it happen and returns in words what was seen.

They follow one another on one device, in the order of `ALL`, and fail by AssertionError.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgefleet_agent.serve.memory import pss_bytes
from tests.fakes.fleet import WEST
from tests.fakes.memory_cage import MemoryCage
from tests.fakes.parts import children

from .box import UNIT, Box
from .greedy import greedy
from .outside import APP, DEVICE, Outside

MOST_SCORE = {UNIT: 2.0, "edgefleet-worker@1": 0.6}
MEMORY_BYTES = 200_000_000
PYTHON = "/usr/lib/edgefleet/bin/python3"
SOCKET = "/run/edgefleet/fashion.sock"
EARLY = """[Unit]
Description=an application that starts before the agent
After=sockets.target
Before=edgefleet-agent.service
[Service]
Type=exec
User=nobody
Environment=PYTHONPATH={app}
ExecStart={python} {app}/app.py {app}/seeds.json {socket} fashion 20
StandardOutput=file:/var/tmp/early.json
[Install]
WantedBy=multi-user.target
"""


@dataclass
class Lab:
    """The box, what is outside, and what was measured."""

    box: Box
    packages: list[Path]
    newer: list[Path]
    """The same packages with a higher version."""
    outside: Outside
    figures: dict[str, float] = field(default_factory=dict)
    releases: list[str] = field(default_factory=list)

    def install(self, packages: list[Path]) -> None:
        """Install packages that were put there by hand."""
        folder = self.box.root / "debs"
        folder.mkdir(exist_ok=True)
        for package in packages:
            shutil.copy(package, folder / package.name)
        self.box.must("dpkg", "-i", *(f"/debs/{package.name}" for package in packages), timeout_s=300)

    def until(self, what: str, holds: Callable[[], object], seconds: float = 60.0) -> float:
        """Wait until `holds()`; return how long that took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}; {self.box.journal()}"
            time.sleep(0.1)
        return time.monotonic() - began

    def application(self, seconds: float, *more: str) -> subprocess.Popen[str]:
        """Start an application in the box; `said` returns what became of it."""
        words = ("env", f"PYTHONPATH={APP}", PYTHON, f"{APP}/app.py", f"{APP}/seeds.json", SOCKET, "fashion")
        user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
        return subprocess.Popen(
            self.box.command(*user, *words, f"{seconds:g}", *more),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def said(self, application: subprocess.Popen[str], *, end: bool = False) -> dict[str, object]:
        """Return the application's last words; `end` asks it to come to its end."""
        if end:
            # Between it and us is nsenter, which waits for it.
            for pid in children(application.pid):
                os.kill(pid, signal.SIGTERM)
        words, errors = application.communicate(timeout=180)
        assert application.returncode == 0, f"the application failed: {errors[-400:]}"
        told: dict[str, object] = json.loads(words)
        return told

    def serves(self, release: str) -> bool:
        """Return whether one request of an application gets the right answer of `release`."""
        application = self.application(0.01)
        words, _ = application.communicate(timeout=60)
        return application.returncode == 0 and any(
            name.startswith(release + " ") for name in json.loads(words)["right"]
        )

    def restarted(self, before: int) -> bool:
        """Return whether another agent than `before` runs and is ready."""
        return self.box.main_pid() not in (0, before) and self.box.shown("ActiveState") == "active"


def installs(lab: Lab) -> str:
    """The packages."""
    lab.install(lab.packages)
    lab.outside.install_app()
    size_mb = sum(path.stat().st_size for path in lab.packages) / 1e6
    return f"with nothing but Debian's python3, {size_mb:.0f} MB"


def is_hardened(lab: Lab) -> str:
    """The score of systemd-analyze."""
    scores = {}
    for unit, most in MOST_SCORE.items():
        said = lab.box.run("systemd-analyze", "security", "--no-pager", f"{unit}.service").stdout
        scores[unit] = float(said.rpartition(":")[2].split()[0])
        assert scores[unit] <= most, f"systemd-analyze security says {scores[unit]} of {unit}, and {most} is allowed"
    lab.figures["exposure_agent"], lab.figures["exposure_worker"] = scores.values()
    words = (f"{scores[unit]} of {unit}, {most} at most" for unit, most in MOST_SCORE.items())
    return f"systemd-analyze security says {' and '.join(words)}"


def has_a_man_page(lab: Lab) -> str:
    """man edgefleet-agent."""
    page = lab.box.must("env", "MANWIDTH=80", "man", "-P", "cat", "edgefleet-agent")
    assert "EXIT STATUS" in page and "explain" in page, page[:200]
    return f"man edgefleet-agent, {len(page.splitlines())} lines"


def enrols(lab: Lab) -> str:
    """By a token that is good for once."""
    lab.box.plug()
    lab.outside.enrol_box()
    return "with a token, over TLS; the same token a second time was refused"


def starts(lab: Lab) -> str:
    """As a service that says when it is ready."""
    began = time.monotonic()
    lab.box.must("systemctl", "start", UNIT)
    ready_s = time.monotonic() - began
    lab.outside.until("the server sees the device", lambda: lab.outside.device(DEVICE)["online"])
    return f"ready after {ready_s:.1f} s, and the server sees it"


def gets_a_model(lab: Lab) -> str:
    """Signed, from the broker."""
    name = lab.outside.new_release()
    began = time.monotonic()
    lab.outside.roll_out(name, [WEST])
    took_s = time.monotonic() - began
    lab.releases.append(name)
    return f"{name}: fetched by mutual TLS, verified, tried, switched to and proven in {took_s:.0f} s"


def serves(lab: Lab) -> str:
    """An application in the box."""
    told = lab.said(lab.application(3.0))
    assert told["right"] and told["failed"] == 0, f"{told}"
    port = lab.box.must("cat", "/run/edgefleet/port").strip()
    shown = lab.box.must("curl", "-fsS", f"http://127.0.0.1:{port}/v2/models/fashion")
    assert json.loads(shown)["name"] == "fashion", shown
    return f"{_right(told)} right answers and none wrong on the Unix socket; curl finds it on port {port}"


def keeps_a_worker_alone(lab: Lab) -> str:
    """In its unit."""
    (worker,) = [pid for pid, line in lab.box.processes().items() if "serve.called" in line and "/bin/sh" not in line]
    agent = next(pid for pid, line in lab.box.processes().items() if "agent run" in line)
    namespaces = [Path(f"/proc/{pid}/ns/net").readlink() for pid in (worker, agent)]
    assert namespaces[0] != namespaces[1], "the worker is in the agent's network"
    links = subprocess.run(["nsenter", "-t", str(worker), "-n", "ip", "-brief", "link"], capture_output=True, text=True)
    assert len(links.stdout.splitlines()) == 1 and links.stdout.startswith("lo "), links.stdout
    listing = ["nsenter", "-t", str(worker), "-m", "ls", "-A", "/var/lib/edgefleet/identity"]
    seen = subprocess.run(listing, capture_output=True, text=True)
    assert not seen.stdout.strip(), f"the worker sees {seen.stdout.split()}"
    for name, pid in (("agent", agent), ("worker", worker)):
        lab.figures[f"{name}_pss_mb"] = round((pss_bytes(Path(f"/proc/{pid}")) or 0) / 1e6, 1)
    unit = Path(f"/proc/{worker}/cgroup").read_text().rpartition("/")[2].strip()
    return f"{unit}: no network but an empty loopback, and the device's keys are not there"


def survives_kill_9(lab: Lab) -> str:
    """Of the agent."""
    before, application = lab.box.main_pid(), lab.application(300.0)
    time.sleep(1)
    lab.box.must("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
    took_s = lab.until("it is back", lambda: lab.restarted(before) and lab.serves(lab.releases[-1]))
    told = lab.said(application, end=True)
    lab.figures["kill_9_s"] = round(took_s, 1)
    return f"serves again after {took_s:.1f} s; of the requests meanwhile {told['failed']} failed and {_right(told)} did not"


def is_watched(lab: Lab) -> str:
    """By systemd's watchdog, set to 5 s here."""
    folder = "/run/systemd/system/edgefleet-agent.service.d"
    lab.box.must("sh", "-c", f"mkdir -p {folder}; printf '[Service]\\nWatchdogSec=5\\n' >{folder}/lab.conf")
    lab.box.must("systemctl", "daemon-reload")
    lab.box.must("systemctl", "restart", UNIT)
    before = lab.box.main_pid()
    time.sleep(12)
    assert lab.box.main_pid() == before, f"the watchdog bit an agent that works: {lab.box.journal()}"
    lab.box.must("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
    took_s = lab.until("it was replaced", lambda: lab.restarted(before) and lab.serves(lab.releases[-1]))
    lab.box.must("sh", "-c", f"rm -r {folder}; systemctl daemon-reload; systemctl restart {UNIT}")
    lab.until("it serves", lambda: lab.serves(lab.releases[-1]))
    return f"fed while it makes progress; stopped, it was replaced and served after {took_s:.1f} s (WatchdogSec=5)"


def switches_in_service(lab: Lab) -> str:
    """A second release under load."""
    application = lab.application(300.0)
    name = lab.outside.new_release()
    lab.outside.roll_out(name, [WEST])
    lab.releases.append(name)
    lab.until("the application meets it", lambda: lab.serves(name))
    time.sleep(1)
    told = lab.said(application, end=True)
    assert told["failed"] == 0 and len(dict(told["right"])) == 2, f"{told}"  # type: ignore[call-overload]
    return f"{name} took over while an application asked: {told['right']}, none failed"


def outlives_a_greedy_model(lab: Lab) -> str:
    """In a control group that the lab makes, and first shows to bite."""
    with MemoryCage(MEMORY_BYTES) as cage:
        proven = cage.prove()
        # Workers are systemd's children, so all that it starts from now on has to be under the limit.
        for pid in (lab.box.first_process, *lab.box.processes()):
            cage.take(pid)
        before = lab.box.main_pid()
        assert before and len(cage.holds) > 2, "the agent and its worker are not in the group"
        name = lab.outside.new_release(spoil=greedy)
        lab.outside.begin(name, [WEST])
        lab.outside.until("it failed there", lambda: lab.outside.told(DEVICE, "trial-failed", "killed by SIGKILL"))
        words = lab.outside.events(DEVICE, "trial-failed")[0]
        assert "telemetry" not in words, f"the runtime tells its maker: {words}"
        assert lab.box.main_pid() == before, "the agent died too"
        assert lab.serves(lab.releases[-1]), "the previous model does not serve"
        cage.let_go()
    lab.outside.until("the rollout ended", lambda: lab.outside.rollout(WEST, name)["status"] != "running")
    return f"{proven}: {words!r}; the agent is the same process and {lab.releases[-1]} serves"


def is_upgraded_in_service(lab: Lab) -> str:
    """The package, under load, by two kinds of applications."""
    before = lab.box.main_pid()
    kept, fresh = lab.application(300.0), lab.application(300.0, "--fresh")
    time.sleep(2)
    lab.install(lab.newer)
    lab.until("the new one serves", lambda: lab.restarted(before) and lab.serves(lab.releases[-1]))
    time.sleep(1)
    told = lab.said(kept, end=True), lab.said(fresh, end=True)
    failed = sum(int(str(row["failed"])) for row in told)
    longest = max(float(str(row["longest_s"])) for row in told)
    lab.figures["upgrade_failed"], lab.figures["upgrade_longest_s"] = failed, longest
    right = sum(_right(row) for row in told)
    assert failed == 0, f"{failed} requests failed and {right} did not: {[row['words'] for row in told]}"
    version = lab.box.must("dpkg-query", "-W", "-f", "${Version}", "edgefleet-agent")
    return f"to {version} with two applications asking: {right} right answers, none failed, the slowest took {longest:.1f} s"


def survives_a_power_cut(lab: Lab) -> str:
    """And serves without a network."""
    unit = EARLY.format(python=PYTHON, app=APP, socket=SOCKET)
    (lab.box.root / "etc/systemd/system/early.service").write_text(unit)
    lab.box.must("systemctl", "enable", "early.service", "edgefleet-model@fashion.socket")
    lab.box.cut()
    began = time.monotonic()
    lab.box.boot()
    lab.until("it serves", lambda: lab.serves(lab.releases[-1]), 120)
    took_s = time.monotonic() - began
    lab.figures["power_on_to_serving_s"] = round(took_s, 1)
    assert not lab.box.run("ip", "route").stdout.strip(), "there is a network"
    told = lab.said(lab.application(2.0))
    assert told["failed"] == 0 and _right(told) > 0, f"{told}"
    return f"cable out, serving {took_s:.1f} s after the container's power came back"


def answers_who_starts_early(lab: Lab) -> str:
    """Before the agent: by the model's socket unit."""
    said = lab.box.root / "var/tmp/early.json"
    lab.until("the application that started early ended", lambda: said.exists() and said.read_text().endswith("\n"))
    told = json.loads(said.read_text())
    assert told["failed"] == 0 and _right(told) > 0, f"{told}"
    assert lab.box.shown("ActiveState", "edgefleet-model@fashion.socket") == "active"
    waited = f"its first answer took {told['longest_s']} s"
    return f"an application that was up before the agent got {_right(told)} right answers, none failed; {waited}"


def comes_home(lab: Lab) -> str:
    """When the cable is in again."""
    lab.box.plug()
    lab.outside.until("the server sees it", lambda: lab.outside.device(DEVICE)["online"])
    lab.outside.until("it says what it runs", lambda: lab.outside.runs(DEVICE, lab.releases[-1]))
    return f"cable in: the server sees it, and that it runs {lab.releases[-1]}"


def checks_itself(lab: Lab) -> str:
    """`agent check`."""
    done = lab.box.agent("check")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return f"agent check finds nothing that keeps it from its work, {done.stdout.count('WARN')} warnings"


def is_purged(lab: Lab) -> str:
    """All but who it is."""
    identity = lab.box.root / "var/lib/edgefleet/identity"
    key = {path.name: path.read_bytes() for path in identity.rglob("*") if path.is_file()}
    lab.box.must("dpkg", "--purge", "edgefleet-runtime", "edgefleet-agent", timeout_s=120)
    left = {path.name: path.read_bytes() for path in identity.rglob("*") if path.is_file()}
    assert key and left == key, f"of the identity {sorted(key)} there is {sorted(left)}"
    others = [row.name for row in (lab.box.root / "var/lib/edgefleet").iterdir() if not row.name.startswith("identity")]
    others += [str(path) for path in (lab.box.root / "etc/systemd").rglob("edgefleet*")]
    assert not others and not (lab.box.root / "usr/lib/edgefleet").exists(), f"left: {others}"
    lab.install(lab.packages)
    (lab.box.root / "etc/edgefleet/purge-identity").touch()
    lab.box.must("dpkg", "--purge", "edgefleet-runtime", "edgefleet-agent", timeout_s=120)
    assert not (lab.box.root / "var/lib/edgefleet").exists(), "it was told to forget the identity"
    return f"all gone but the identity ({len(key)} files, byte for byte); that too when told"


def _right(told: dict[str, object]) -> int:
    return sum(dict(told["right"]).values())  # type: ignore[call-overload]


ALL = (
    installs, is_hardened, has_a_man_page, enrols, starts, gets_a_model, serves, keeps_a_worker_alone, checks_itself, survives_kill_9, is_watched,
    switches_in_service, outlives_a_greedy_model, is_upgraded_in_service, survives_a_power_cut, answers_who_starts_early, comes_home, is_purged,
)  # fmt: skip
