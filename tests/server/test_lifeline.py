"""Nothing that the demo started outlives it, however it ends."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgefleet_server.link import embedded
from edgefleet_server.link.embedded import EmbeddedBroker, Kind, Settings, free_port
from tests.fakes.scripted_device import eventually

PARENT = """
import sys, time
from pathlib import Path
from edgefleet_server.demo.processes import Processes
from edgefleet_server.link.embedded import EmbeddedBroker, Settings
folder, kind, broker, part = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
with EmbeddedBroker(Settings(broker, folder, kind)), Processes(folder / "logs", {}) as processes:
    processes.start("part", ["http.server", part, "--bind", "127.0.0.1"])
    time.sleep(600)
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])
def test_a_killed_demo_leaves_neither_broker_nor_parts_behind(tmp_path: Path, kind: str) -> None:
    broker, part = free_port(), free_port()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), kind, str(broker), str(part)])
    try:
        eventually("both run", lambda: listens(broker) and listens(part))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    eventually("both have ended", lambda: not listens(broker) and not listens(part))


@pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])
def test_ctrl_c_while_the_broker_starts_leaves_none_behind(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = EmbeddedBroker(Settings(free_port(), tmp_path, kind))
    started: list[int | None] = []

    def interrupted(port: int) -> bool:
        if broker.pid is None:
            return listens(port)
        started.append(broker.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "listens", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broker.start()
    assert started and broker.pid is None
    assert not Path(f"/proc/{started[0]}").exists()
