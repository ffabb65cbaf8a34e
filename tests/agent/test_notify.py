"""What systemd is told, through a real socket."""

import os
import socket
from pathlib import Path

import pytest

from edgefleet_agent.notify import Notifier, words_of


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "n"))
    sock.setblocking(False)
    return sock


def said(sock: socket.socket) -> list[str]:
    rows = []
    while True:
        try:
            rows.append(sock.recv(1000).decode())
        except BlockingIOError:
            return rows


def test_ready_and_status_are_said_once_and_each_turn_shows_life(tmp_path: Path, manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "10000000"})
    for _ in range(2):
        notifier.alive()
        notifier.ready()
        notifier.status("1 of 1 models\nserved")
    assert said(manager) == ["WATCHDOG=1", "READY=1", "STATUS=1 of 1 models served", "WATCHDOG=1"]
    assert notifier.at_most_s == pytest.approx(4.0)


def test_a_watchdog_of_another_process_is_not_fed(tmp_path: Path, manager: socket.socket) -> None:
    other = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    notifier = Notifier(other)
    notifier.alive()
    assert said(manager) == [] and notifier.at_most_s is None


def test_without_a_manager_and_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    for name in ("", str(tmp_path / "gone"), "@edgefleet-test-nobody"):
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready()
        notifier.stopping()


def test_an_abstract_socket_is_found(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"edgefleet-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.setblocking(False)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert said(sock) == ["READY=1"]


def test_the_status_line_counts_models() -> None:
    assert words_of(1, 2, "connected") == "1 of 2 models served; connected"
    assert words_of(0, 0, "no broker at h:1") == "no model yet; no broker at h:1"
