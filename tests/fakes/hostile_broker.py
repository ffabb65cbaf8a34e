"""A broker that keeps no rule: it lets everybody in and sends a message of any size, made up as it goes."""

from __future__ import annotations

import contextlib
import socket
import threading

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ = 1, 3, 8, 12
BLOCK = b"\0" * 65536


class HostileBroker:
    """`with HostileBroker(topic, 200_000_000) as broker:` sends that on `topic` to whoever has subscribed to anything."""

    def __init__(self, topic: str, payload_bytes: int, port: int = 0) -> None:
        self._topic, self._bytes = topic.encode(), payload_bytes
        self._server = socket.create_server(("127.0.0.1", port))
        self.port: int = self._server.getsockname()[1]
        self.connections = 0
        self.sent_bytes = 0
        """To the client that took most."""
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> HostileBroker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake the thread that waits in accept.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            while True:
                kind, body = _packet(client)
                if kind == CONNECT:
                    client.sendall(b"\x20\x02\0\0")
                elif kind == PINGREQ:
                    client.sendall(b"\xd0\0")
                elif kind == PUBLISH:
                    self._acknowledge(client, body)
                elif kind == SUBSCRIBE:
                    client.sendall(b"\x90" + _length(2 + _filters(body)) + body[:2] + b"\0" * _filters(body))
                    self._flood(client)

    def _acknowledge(self, client: socket.socket, body: bytes) -> None:
        end = 2 + int.from_bytes(body[:2], "big")
        client.sendall(b"\x40\x02" + body[end : end + 2])

    def _flood(self, client: socket.socket) -> None:
        head = len(self._topic).to_bytes(2, "big") + self._topic
        client.sendall(b"\x30" + _length(len(head) + self._bytes) + head)
        sent = 0
        while sent < self._bytes:
            sent += client.send(BLOCK[: self._bytes - sent])
            self.sent_bytes = max(self.sent_bytes, sent)


def _packet(client: socket.socket) -> tuple[int, bytes]:
    first = _read(client, 1)[0]
    size = shift = 0
    while True:
        byte = _read(client, 1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return first >> 4, _read(client, size)


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _length(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, digit = divmod(size, 128)
        encoded.append(digit | (128 if size else 0))
        if not size:
            return bytes(encoded)


def _filters(body: bytes) -> int:
    at, count = 2, 0
    while at < len(body):
        at += 3 + int.from_bytes(body[at : at + 2], "big")
        count += 1
    return count
