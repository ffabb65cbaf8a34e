"""The enrolment door has only so many places, and each is free again however its connection ended."""

import socket
import ssl
import threading
from typing import cast

import pytest

from edgefleet_server.identity.door import Door
from edgefleet_server.identity.listener import MAX_CONNECTIONS, _Server


def test_a_connection_for_which_no_thread_can_start_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    server = _Server(("127.0.0.1", 0), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cast(Door, None))
    with server:
        with monkeypatch.context() as short:
            short.setattr(threading.Thread, "start", cannot)
            for _ in range(MAX_CONNECTIONS):
                with socket.create_connection(server.server_address[:2], timeout=5):
                    server.handle_request()
        assert server._open == {}
