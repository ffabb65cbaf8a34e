"""Connections between gateway and worker: whatever a worker sends, the agent keeps no descriptor of it."""

import os
import socket
from pathlib import Path

from edgefleet_agent.serve.handoff import give, pair, receive


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_connection_comes_over_with_what_was_read_of_it() -> None:
    giving, taking = pair()
    ours, theirs = socket.socketpair()
    with giving, taking, ours, theirs:
        assert give(giving, theirs, b"GET /")
        passed = receive(taking)
        assert passed is not None and passed[1] == b"GET /"
        with passed[0] as sock:
            ours.send(b"on")
            assert sock.recv(2) == b"on"


def test_what_is_no_connection_is_refused_and_leaves_no_descriptor_open() -> None:
    giving, taking = pair()
    reading, writing = os.pipe()
    with giving, taking:
        before = descriptors()
        for _ in range(3):
            socket.send_fds(giving, [b"+"], [reading])
            assert receive(taking) is None
        assert descriptors() == before
    os.close(reading)
    os.close(writing)
