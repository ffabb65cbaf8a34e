"""What the agent tells systemd: ready, how it is, that it makes progress, and what to keep for it. sd_notify(3), by a datagram to a socket.

Without NOTIFY_SOCKET, everything here says nothing.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

SHARE_OF_WATCHDOG = 0.4
"""How much of the watchdog's time may pass between two signs of life; systemd.service(5) advises half."""


class Notifier:
    """Speaks to the service manager that started this process."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """environment: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as sd_notify(3) and sd_watchdog_enabled(3) name them."""
        known = os.environ if environment is None else environment
        name = known.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is of the abstract kind, which the kernel writes with a NUL.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        usec, pid = known.get("WATCHDOG_USEC", ""), known.get("WATCHDOG_PID", "")
        mine = pid in ("", str(os.getpid()))
        self._watchdog_s = int(usec) / 1e6 if mine and usec.isascii() and usec.isdigit() and int(usec) > 0 else None
        self._ready = False
        self._status = ""

    @property
    def at_most_s(self) -> float | None:
        """How long the main loop may sleep before it must show that it lives; None where nobody watches."""
        return None if self._watchdog_s is None else self._watchdog_s * SHARE_OF_WATCHDOG

    def alive(self) -> None:
        """Show that the main loop came round. Said nowhere else: a thread that ticks would hide a loop that hangs."""
        if self._watchdog_s is not None:
            self._say("WATCHDOG=1")

    def ready(self) -> None:
        """Say once that the service is up."""
        if not self._ready:
            self._ready = True
            self._say("READY=1")

    def status(self, words: str) -> None:
        """Say how it is, in one line, when that changed."""
        line = " ".join(words.split())[:512]
        if line != self._status:
            self._status = line
            self._say(f"STATUS={line}")

    def hold(self, name: str, descriptor: int) -> None:
        """Have the manager keep a descriptor for the next start, as far as FileDescriptorStoreMax= allows."""
        self._say(f"FDSTORE=1\nFDNAME={name}", descriptor)

    def let_go(self, name: str) -> None:
        """Have the manager close what it keeps under that name."""
        self._say(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def stopping(self) -> None:
        """Say that the end was begun on purpose."""
        self._say("STOPPING=1")

    def _say(self, text: str, *descriptors: int) -> None:
        if not self._address:
            return
        # A manager that is gone or busy must not hold the agent.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.connect(self._address)
            if descriptors:
                socket.send_fds(sock, [text.encode()], list(descriptors))
            else:
                sock.send(text.encode())


def words_of(serving: int, models: int, broker: str) -> str:
    """Return the status line."""
    return f"{serving} of {models} models served; {broker}" if models else f"no model yet; {broker}"
