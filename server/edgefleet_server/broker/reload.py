"""Making a broker read its revocation list anew."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

from ..config import BrokerConfig
from ..errors import ServerError

TIMEOUT_S = 30.0


class CannotReload(ServerError):
    """The broker could not be told. What it had read before holds until then."""


def reload_broker(config: BrokerConfig) -> str:
    """Tell the broker, by the configured command or signal, and return what was done in words. Raises CannotReload."""
    if config.reload:
        return _run(config.reload)
    if config.pid_file is not None:
        return _signal(config.pid_file)
    raise CannotReload(
        "nobody said how the broker is told to read its revocation list: write reload = ['systemctl', 'reload', 'mosquitto'] "
        "or pid_file below [broker] in server.toml; until then restart the broker by hand"
    )


def _run(command: tuple[str, ...]) -> str:
    words = shlex.join(command)
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, text=True)
    except subprocess.TimeoutExpired as error:
        raise CannotReload(f"broker.reload did not end within {TIMEOUT_S:.0f} s: {words}") from error
    except OSError as error:
        raise CannotReload(f"broker.reload could not be run: {words}: {error.strerror}") from error
    if ended.returncode != 0:
        last = (ended.stderr or ended.stdout).strip().splitlines()[-1:]
        raise CannotReload(f"broker.reload ended with code {ended.returncode}: {words}: {''.join(last) or 'no words'}")
    return f"ran {words}"


def _signal(pid_file: Path) -> str:
    try:
        pid = int(pid_file.read_text().split()[0])
        # 0 and negative numbers are groups of processes, of which this server is in one.
        if pid <= 1:
            raise ValueError
        os.kill(pid, signal.SIGHUP)
    except (ValueError, IndexError):
        raise CannotReload(f"broker.pid_file {pid_file} holds no process id") from None
    except OSError as error:
        raise CannotReload(
            f"broker.pid_file {pid_file}: {error.strerror}. Is the broker running on this machine?"
        ) from error
    return f"sent SIGHUP to process {pid}"
