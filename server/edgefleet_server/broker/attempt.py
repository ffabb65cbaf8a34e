"""Whether Mosquitto starts on a configuration: tried, since 2.0 has no option that only checks it."""

import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from edgefleet_protocol.topics import Topics

from ..errors import NoBroker
from ..link.embedded import free_port, mosquitto_path
from .mosquitto import CONFIGURATION, Settings
from .place import find_plugin, owner, write_configuration

TIMEOUT_S = 20.0


def attempt(settings: Settings, topics: Topics) -> str | None:
    """Start Mosquitto for a moment on a free port of this machine; return why that could not be tried, or None when it came up.

    Raises NoBroker with its last words when it did not.
    """
    program = mosquitto_path()
    if program is None:
        return "Mosquitto is not installed here, so the configuration was not tried"
    with tempfile.TemporaryDirectory(prefix="edgefleet-broker-") as folder:
        here = Path(folder)
        tried = replace(
            settings, folder=here, store=here, plugin=find_plugin(), port=free_port(), listen="127.0.0.1", user=owner(),
            persistence=False,
        )  # fmt: skip
        write_configuration(tried, topics)
        log = here / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "-c", str(here / CONFIGURATION)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while not speaks_tls(tried.port, tried.pki / "ca.pem"):
                if process.poll() is not None or time.monotonic() > deadline:
                    words = log.read_text(errors="replace").strip().splitlines()[-3:]
                    raise NoBroker(f"Mosquitto does not start on this configuration: {' / '.join(words) or 'no words'}")
                time.sleep(0.02)
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
    return None


def speaks_tls(port: int, ca: Path) -> bool:
    """Return whether somebody on this machine's `port` shows a certificate of the authority `ca`.

    That a port is open says nothing: Mosquitto opens it before it reads its certificates.
    """
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=2) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            return True
    except OSError as error:
        # With TLS 1.2 a broker that asks for a certificate says so within the handshake, after it showed its own.
        return "CERTIFICATE_REQUIRED" in str(error) or "HANDSHAKE_FAILURE" in str(error)
