"""A mail server of some lines: it speaks STARTTLS and AUTH PLAIN, and keeps what it was given."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from pathlib import Path


class MailServer:
    """Listens on loopback. `messages`: what came, each with the login it came by and whether it came over TLS."""

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.messages: list[tuple[str, str, bool]] = []
        self.refuse = 0
        """So many messages are refused first, as a server does that is too busy."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MailServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ValueError), client:
                client.settimeout(10)
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        login, encrypted = "", False
        file = client.makefile("rb")
        client.sendall(b"220 here\r\n")
        while line := file.readline().decode().strip():
            verb = line[:4].upper()
            if verb in ("EHLO", "HELO"):
                offers = b"250-STARTTLS\r\n" if self._context and not encrypted else b""
                client.sendall(b"250-here\r\n" + offers + b"250 AUTH PLAIN\r\n")
            elif verb == "STAR" and self._context:
                client.sendall(b"220 go on\r\n")
                client, encrypted = self._context.wrap_socket(client, server_side=True), True
                file = client.makefile("rb")
            elif verb == "AUTH":
                login = base64.b64decode(line.split()[2]).decode()
                client.sendall(b"235 well\r\n")
            elif verb == "DATA" and self.refuse:
                self.refuse -= 1
                client.sendall(b"451 busy\r\n")
            elif verb == "DATA":
                client.sendall(b"354 go on\r\n")
                lines = []
                while (part := file.readline()) not in (b".\r\n", b""):
                    lines.append(part)
                self.messages.append((b"".join(lines).decode(), login, encrypted))
                client.sendall(b"250 taken\r\n")
            elif verb == "QUIT":
                client.sendall(b"221 bye\r\n")
                return
            else:
                client.sendall(b"250 well\r\n")
