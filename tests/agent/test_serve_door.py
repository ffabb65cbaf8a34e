"""Who is let in, when memory is short."""

import selectors
import socket

import pytest

from edgefleet_agent.serve import door as doors
from edgefleet_agent.serve.door import Door
from edgefleet_agent.serve.http import Request, Response
from tests.fakes.served import until


def _never(_request: Request) -> Response:
    raise AssertionError("nobody asks")


class _DiesAtOnce(Door):
    """Its threads die of memory before their first line."""

    def _serve(self, guest: doors._Guest) -> None:
        raise SystemExit


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_thread_that_dies_of_memory_at_its_start_hangs_nobody(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "SILENT_S", 0.05)
    door = _DiesAtOnce([listener], _never)
    with listener, selectors.DefaultSelector() as selector, socket.create_connection(listener.getsockname()) as client:
        door.open(selector)
        door.take(listener)
        client.setblocking(False)

        def closed() -> bool:
            door.tidy()
            try:
                return client.recv(1) == b""
            except BlockingIOError:
                return False

        until(closed, "the connection that nobody serves is closed")
        assert door.connections == 0 and not door.untidy


def test_no_memory_for_a_thread_is_said_in_words(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_function: object, _arguments: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(doors._thread, "start_new_thread", refuse)
    door = Door([listener], _never)
    with listener, socket.create_connection(listener.getsockname(), timeout=30) as client:
        door.take(listener)
        said = b""
        while piece := client.recv(4096):
            said += piece
        assert b"503" in said.partition(b"\r\n")[0] and b"no memory for another connection" in said
        assert door.connections == 0
