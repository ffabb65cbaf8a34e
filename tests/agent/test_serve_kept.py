"""Between two agents, and before the first, whoever connects waits: systemd keeps the sockets."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefleet_agent.serve.kept import UNCLAIMED_S, Kept
from edgefleet_agent.serve.sockets import Access, Port, Sockets
from tests.fakes.service_manager import ServiceManager

AGENT = """
import os, select, sys
from pathlib import Path
from edgefleet_agent.notify import Notifier
from edgefleet_agent.serve.kept import Kept
from edgefleet_agent.serve.launcher import ProcessLauncher
run = Path(sys.argv[1])
launcher = ProcessLauncher(run, kept=Kept(run, Notifier()))
launcher.sockets("fashion")
sockets = launcher._sockets["fashion"]
print(sockets.port, launcher.front.port, "LISTEN_FDS" in os.environ, flush=True)
for word in sys.argv[2:]:
    listener = sockets.unix if word == "unix" else sockets._port.sock
    select.select([listener], [], [])
    guest, _ = listener.accept()
    guest.sendall(guest.recv(100) + b" " + word.encode())
    guest.close()
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path) as made:
        yield made


def agent(manager: ServiceManager, run: Path, *words: str, **units: socket.socket) -> "subprocess.Popen[str]":
    named = {name.replace("_", "-") + ".socket": sock for name, sock in units.items()}
    return manager.start(["-c", AGENT, str(run), *words], named)


def ports(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def ask(family: int, address: object) -> socket.socket:
    client = socket.socket(family)
    client.settimeout(30)
    client.connect(address)  # type: ignore[arg-type]
    client.sendall(b"hello")
    return client


def test_who_connects_between_two_agents_waits_and_is_answered_by_the_next(
    manager: ServiceManager, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = agent(manager, run, "unix")
    before = ports(first)
    first.kill()
    first.wait()
    manager.hear()
    inode = (run / "fashion.sock").lstat().st_ino
    assert set(manager.kept) == {f"fashion.sock@{inode}", "fashion.port", "port"}
    clients = [ask(socket.AF_UNIX, str(run / "fashion.sock")), ask(socket.AF_INET, ("127.0.0.1", int(before[0])))]
    second = agent(manager, run, "unix", "tcp")
    assert ports(second) == before == [*before[:2], "False"]
    assert [client.recv(100) for client in clients] == [b"hello unix", b"hello tcp"]
    assert second.wait() == 0
    kept = dict(manager.kept)
    manager.hear()
    assert manager.kept == kept, "what was taken over is kept already"
    for client in clients:
        client.close()


def test_an_application_that_starts_before_the_agent_is_answered_by_the_socket_unit(
    manager: ServiceManager, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with socket.socket(socket.AF_UNIX) as unit, socket.socket(socket.AF_INET) as port:
        unit.bind(str(run / "fashion.sock"))
        (run / "fashion.sock").chmod(0o666)
        port.bind(("127.0.0.1", 0))
        unit.listen()
        port.listen()
        client = ask(socket.AF_UNIX, str(run / "fashion.sock"))
        process = agent(manager, run, "unix", edgefleet_model_fashion=unit, edgefleet_agent=port)
        assert ports(process)[1] == str(port.getsockname()[1])
        assert client.recv(100) == b"hello unix"
        assert process.wait() == 0
        client.close()
    assert (run / "port").read_text().strip() == str(Port(run / "port", 0).number)
    manager.hear()
    assert set(manager.kept) == {"fashion.port"}, "a socket unit keeps its own"


def handed(run: Path, name: str, sock: socket.socket) -> Kept:
    """Return what an agent would be handed, in this very process: its descriptor is not number 3."""
    kept = Kept(run, environment={})
    kept._add(os.dup(sock.fileno()), name)
    return kept


def test_a_kept_socket_whose_name_is_another_file_by_now_is_bound_anew(tmp_path: Path) -> None:
    old = Sockets(tmp_path, "fashion", 0)
    name = f"fashion.sock@{old.path.lstat().st_ino}"
    taken = Sockets(tmp_path, "fashion", 0, kept=handed(tmp_path, name, old.unix))
    assert os.fstat(taken.unix.fileno()).st_ino == os.fstat(old.unix.fileno()).st_ino
    old.path.unlink()
    anew = Sockets(tmp_path, "fashion", 0, kept=handed(tmp_path, name, old.unix))
    assert os.fstat(anew.unix.fileno()).st_ino != os.fstat(old.unix.fileno()).st_ino and anew.path.is_socket()
    for each in (old, taken, anew):
        each.close()


def test_a_socket_whose_name_somebody_removed_is_kept_no_more(manager: ServiceManager, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = agent(manager, run, "unix")
    ports(first)
    first.kill()
    first.wait()
    manager.hear()
    (run / "fashion.sock").rename(tmp_path / "elsewhere")
    second = agent(manager, run, "unix")
    ports(second)
    second.kill()
    second.wait()
    manager.hear()
    inode = (run / "fashion.sock").lstat().st_ino
    assert set(manager.kept) == {f"fashion.sock@{inode}", "fashion.port", "port"}


def test_a_kept_socket_with_other_rights_than_the_owner_wishes_now_is_bound_anew(tmp_path: Path) -> None:
    old = Sockets(tmp_path, "fashion", 0, Access(loopback=False))
    kept = handed(tmp_path, f"fashion.sock@{old.path.lstat().st_ino}", old.unix)
    assert kept.unix(old.path, os.getgid()) is None
    old.close()


def test_a_kept_port_outside_of_what_the_owner_wishes_now_is_not_taken(tmp_path: Path) -> None:
    old = Port(tmp_path / "port", 0)
    assert handed(tmp_path, "port", old.sock).tcp(tmp_path / "port", 1024, 1) is None
    old.sock.close()


def test_what_no_model_asks_for_is_let_go_but_a_socket_unit_s_is_not(tmp_path: Path) -> None:
    old = Sockets(tmp_path, "gone", 0)
    kept = handed(tmp_path, "gone.port", old._port.sock)  # type: ignore[union-attr]
    with socket.socket(socket.AF_UNIX) as unit:
        unit.bind(str(tmp_path / "early.sock"))
        unit.listen()
        kept._add(os.dup(unit.fileno()), "edgefleet-model@early.socket")
        kept.tidy()
        assert set(kept._handed) == {"gone.port", "early.sock"}
        kept._until -= UNCLAIMED_S
        kept.tidy()
        assert set(kept._handed) == {"early.sock"}
    old.close()


def test_what_is_handed_to_another_process_is_left_alone(tmp_path: Path) -> None:
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "port", "OTHER": "stays"}
    assert not Kept(tmp_path, environment=environment)._handed
    assert environment == {"OTHER": "stays"}
