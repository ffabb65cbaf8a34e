"""One loopback port for all models: connections are passed on to the workers, and what concerns all is answered there."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_agent.serve.gateway import MAX_GUESTS, Gateway
from edgefleet_agent.serve.handoff import give
from edgefleet_agent.serve.launcher import ProcessLauncher, ProcessWorker
from tests.fakes.served import FEATURES, ready, until, write_model

QUESTION = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, FEATURES], "data": [0.5] * FEATURES}]}


class Device:
    """Two models, one port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launcher = ProcessLauncher(folder / "run")
        self.workers = {name: self.start(f"{name}/{version}") for name, version in (("fashion", 3), ("faces", 7))}
        self.port = self.launcher.front.port

    def start(self, release: str) -> ProcessWorker:
        """Start a worker and let it serve."""
        worker = self.launcher.start(write_model(self.folder / release.replace("/", "-"), release=release))
        ready(worker)
        worker.accept()
        return worker

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the one port."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Return status and JSON of one exchange on a connection that is kept."""
    connection.request(method, path, None if body is None else json.dumps(body))
    response = connection.getresponse()
    return response.status, json.loads(response.read() or b"null")


def infer(connection: http.client.HTTPConnection, model: str) -> str:
    """Return the release that answers."""
    status, said = ask(connection, "POST", f"/v2/models/{model}/infer", QUESTION)
    assert status == 200, said
    release: str = said["parameters"]["release"]
    return release


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """One device for all tests: none may disturb the next."""
    made = Device(tmp_path_factory.mktemp("gateway"))
    yield made
    made.launcher.close()


def test_one_connection_asks_two_models_and_the_device(device: Device) -> None:
    with contextlib.closing(device.connect()) as kept:
        kept.connect()
        sock = kept.sock
        for _ in range(3):
            assert infer(kept, "fashion") == "fashion/3"
            assert infer(kept, "fashion") == "fashion/3"
            assert infer(kept, "faces") == "faces/7"
            assert ask(kept, "GET", "/v2/health/ready") == (200, {"ready": True})
            assert ask(kept, "GET", "/v2")[1]["name"] == "edgefleet"
        # It was the same connection all the time: nothing was closed and opened again.
        assert kept.sock is sock


def test_the_index_names_all_models(device: Device) -> None:
    with contextlib.closing(device.connect()) as kept:
        assert ask(kept, "POST", "/v2/repository/index", {}) == (
            200,
            [
                {"name": "faces", "version": "7", "state": "READY", "reason": ""},
                {"name": "fashion", "version": "3", "state": "READY", "reason": ""},
            ],
        )
        status, said = ask(kept, "POST", "/v2/repository/models/faces/unload")
        assert status == 403 and "signed releases" in said["error"]
        status, said = ask(kept, "GET", "/v2/models/cats")
        assert status == 404 and "faces, fashion" in said["error"]
        assert ask(kept, "GET", "/v2/models/faces/versions/7/ready")[0] == 200


def test_requests_in_one_packet_for_several_models_are_answered_in_order(device: Device) -> None:
    paths = ["/v2/models/fashion", "/v2/models/faces", "/v2/health/live", "/v2/models/fashion"]
    with socket.create_connection(("127.0.0.1", device.port), timeout=60) as sock:
        sock.sendall(b"".join(f"GET {path} HTTP/1.1\r\n\r\n".encode() for path in paths))
        sock.sendall(b"GET /v2/health/live HTTP/1.1\r\nConnection: close\r\n\r\n")
        got = b""
        while part := sock.recv(65536):
            got += part
    bodies = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [body.get("name") for body in bodies] == ["fashion", "faces", None, "fashion", None]


def test_the_port_stays_the_same_after_the_agent_starts_again(tmp_path: Path) -> None:
    ports = []
    for _ in range(2):
        launcher = ProcessLauncher(tmp_path)
        launcher.sockets("fashion")
        ports.append(launcher.front.port)
        assert (tmp_path / "port").read_text() == f"{launcher.front.port}\n"
        launcher.close()
    assert ports[0] == ports[1]


def test_a_switch_and_a_death_lose_no_request(tmp_path: Path) -> None:
    device = Device(tmp_path)
    wrong: list[object] = []
    ending = threading.Event()
    answered: set[str] = set()

    def client() -> None:
        connection = device.connect()
        while not ending.is_set():
            for model in ("fashion", "faces"):
                try:
                    answered.add(infer(connection, model))
                except http.client.RemoteDisconnected:
                    # Only what was kept while its worker ended, and before any byte of an answer.
                    connection.close()
                except Exception as error:
                    wrong.append(error)
                    connection.close()
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(3)]
    for each in clients:
        each.start()
    old = device.workers["fashion"]
    for version in range(4, 8):
        new = device.start(f"fashion/{version}")
        old.pause()
        old.stop(5.0)
        until(lambda old=old: old.poll() == "dead", "the old worker ends")  # type: ignore[misc]
        old = new
        until(lambda version=version: f"fashion/{version}" in answered, "the new one answers")  # type: ignore[misc]
    ending.set()
    for each in clients:
        each.join()
    assert wrong == []
    with contextlib.closing(device.connect()) as kept:
        assert ask(kept, "POST", "/v2/repository/index")[1][1]["version"] == "7"
        os.kill(old.pid, signal.SIGKILL)
        until(lambda: old.poll() == "dead", "the worker is gone")
        rows = ask(kept, "POST", "/v2/repository/index")[1]
        assert rows[1]["state"] == "UNAVAILABLE" and "SIGKILL" in rows[1]["reason"]
        assert [row["name"] for row in ask(kept, "POST", "/v2/repository/index", {"ready": True})[1]] == ["faces"]
        assert ask(kept, "GET", "/v2/health/ready") == (503, {"ready": False})
        # What is asked now waits for the next worker.
        kept.request("GET", "/v2/models/fashion")
        device.start("fashion/8")
        assert json.loads(kept.getresponse().read())["versions"] == ["8"]
    device.launcher.close()


def test_half_open_connections_lock_nobody_out(device: Device) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MAX_GUESTS):
            sock = opened.enter_context(socket.create_connection(("127.0.0.1", device.port), timeout=60))
            sock.sendall(b"GET /v2")

        def answered() -> bool:
            with contextlib.closing(device.connect()) as another:
                try:
                    return ask(another, "GET", "/v2/health/live")[0] == 200
                except (OSError, http.client.HTTPException):
                    return False

        until(answered, "somebody else is answered", 20)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120) | st.text(alphabet="GETPOS /v2/modelsfashion HTTP1.\r\n:", max_size=120).map(str.encode))
def test_any_bytes_leave_the_gateway_alive(device: Device, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", device.port), timeout=60) as sock:
        sock.sendall(data + b"\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                assert b"HTTP/1.1 500" not in part
    with contextlib.closing(device.connect()) as kept:
        assert infer(kept, "faces") == "faces/7"


def test_a_worker_that_shuts_the_way_back_costs_no_later_worker_and_keeps_the_gateway_from_nothing() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        gateway = Gateway(listener)
        try:
            gateway.add("fashion")
            with socket.socket(fileno=os.dup(gateway.descriptors("fashion")[1])) as back:
                inode = os.fstat(back.fileno()).st_ino
                back.shutdown(socket.SHUT_RDWR)
                until(lambda: os.fstat(gateway.descriptors("fashion")[1]).st_ino != inode, "another way back")
            with socket.socket(fileno=os.dup(gateway.descriptors("fashion")[1])) as back:
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    assert give(back, theirs, b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
                    ours.settimeout(60)
                    assert ours.recv(100).startswith(b"HTTP/1.1 200")
        finally:
            gateway.close()
