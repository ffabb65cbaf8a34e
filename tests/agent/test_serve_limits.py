"""Which limits hold is found out, not assumed; without namespaces the network is dropped another way."""

import json
import subprocess
import sys
from pathlib import Path

from edgefleet_agent.serve.launcher import ProcessLauncher

LIMITS = [sys.executable, "-I", "-m", "edgefleet_agent.serve.limits"]


def test_all_limits_hold_on_this_machine(tmp_path: Path) -> None:
    held = ProcessLauncher(tmp_path).limits_held()
    assert held.pop("network") in ("namespace", "seccomp")
    assert held.pop("oom").endswith("goes before the agent")
    assert held == {
        "files": "rlimit",
        "privileges": "no new ones",
        "memory": "rlimit",
        "cpu": "rlimit",
        "orphan": "killed with the agent",
    }


def without_namespaces(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run `command` where no further user or network namespace may be made."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*wrapper, "true"], capture_output=True, timeout=60, check=False).returncode == 0:
        command = (*wrapper, "sh", "-c", forbid, "sh", *command)
    # Else they are forbidden here already.
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_without_namespaces_a_filter_forbids_sockets() -> None:
    assert json.loads(without_namespaces(*LIMITS).stdout)["network"] == "seccomp"


def test_the_filter_forbids_new_sockets_and_leaves_those_that_are_there() -> None:
    script = """
import socket
from edgefleet_agent.serve.limits import Limits, take
listener = socket.create_server(("127.0.0.1", 0))
waiting = socket.create_connection(listener.getsockname())
waiting.sendall(b"asked")
take(Limits())
taken, _ = listener.accept()
print(taken.recv(5).decode())
left, right = socket.socketpair()
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    try:
        socket.socket(family)
        print("opened")
    except PermissionError:
        print("refused")
"""
    done = without_namespaces(sys.executable, "-I", "-c", script)
    assert done.stdout.split() == ["asked", "refused", "refused", "refused"]
