"""`edgefleet agent diag`: a bundle of files for whoever helps, gathered from outside the agent, which may be dead, and no secret.

What a running agent tells of itself when it is commanded to is in `diagnosis`.

Keys, tokens and what an application sent are never read; what was read goes through `redacted` once more.
"""

import gzip
import io
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgefleet_protocol.hardware import Hardware

from . import __version__
from .config import Config
from .diagnosis import fields, settings
from .identity import CERTIFICATE, FOLDER, KEY
from .rules.redact import redacted

LIMIT_BYTES = 1_000_000
MAX_PART = 200_000
LOG_LINES = "2000"
UNIT = "edgefleet-agent.service"
SYSTEM = (
    "etc/os-release",
    "proc/meminfo",
    "proc/loadavg",
    "proc/mounts",
    "proc/cmdline",
    "proc/version",
    "proc/pressure/memory",
)


def bundle(config: Config, hardware: Hardware | None = None, *, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Return a tar.gz of text files. What cannot be read is missing; parts that would pass `limit_bytes` are left out, by name.

    hardware: read from the device where it is not given, which may start a short child.
    """
    parts = dict(_parts(config, hardware))
    left_out: list[str] = []
    while True:
        data = _packed({**parts, **({"left-out.txt": "\n".join(left_out) + "\n"} if left_out else {})})
        if len(data) <= limit_bytes or not parts:
            return data
        longest = max(parts, key=lambda name: len(parts[name]))
        left_out.append(longest)
        del parts[longest]


def _parts(config: Config, hardware: Hardware | None) -> Iterator[tuple[str, str]]:
    rows: tuple[tuple[str, Callable[[], str]], ...] = (
        ("about.json", lambda: json.dumps({"agent": __version__, "device": config.device, "fleet": config.fleet,
                                           "at_s": round(time.time(), 1)})),
        ("status.txt", lambda: _status(config, hardware)),
        ("check.txt", lambda: _check(config)),
        ("settings.txt", lambda: fields(settings(config))),
        ("identity.txt", lambda: _identity(config.state / FOLDER)),
        ("files.txt", lambda: "\n".join(_files(config.state))),
        ("journal.txt", lambda: _said("journalctl", "--unit", UNIT, "--lines", LOG_LINES, "--no-pager", "--output", "short-iso")),
        ("unit.txt", lambda: _said("systemctl", "show", UNIT, "--property",
                                   "ActiveState,SubState,Result,NRestarts,MemoryCurrent,ExecMainStatus,StatusText")),
        *((f"system/{path.replace('/', '-')}.txt", _reader(config.hardware.root / path)) for path in SYSTEM),
    )  # fmt: skip
    for name, make in rows:
        try:
            text = make()
        except Exception as error:
            # What is broken is what a bundle is made for: one part that fails must not cost the others.
            text = f"cannot be told: {type(error).__name__}: {error}"
        if text:
            yield name, redacted(text[-MAX_PART:])


def _reader(path: Path) -> Callable[[], str]:
    return lambda: path.read_bytes()[:MAX_PART].decode("utf-8", "replace")


def _status(config: Config, hardware: Hardware | None) -> str:
    from .clock import SystemClock
    from .hardware.probe import HardwareProbe
    from .loop import is_running
    from .status import explain, explain_words, live_standing, live_state, status_words, stored_state

    clock, running = SystemClock(), is_running(config.state)
    hardware = (
        hardware or HardwareProbe(config.state, config.hardware.root, config.hardware.machine, keep=False).hardware()
    )
    told = live_state(config.run) if running else None
    state = told or stored_state(config, hardware, clock.boot(), clock.now())
    words = status_words(state, running, live_standing(config.run) if running else None, clock.monotonic())
    return words + "\n" + explain_words(explain(config, hardware, state), hardware)


def _check(config: Config) -> str:
    from .check import findings, words

    return words(findings(config))


def _identity(folder: Path) -> str:
    """Whether there is one, and until when; the certificate is public, and even so only its dates are told."""
    if not folder.is_dir():
        return "none"
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
    mode = (folder / KEY).stat().st_mode & 0o777
    return f"valid until {certificate.not_valid_after_utc.isoformat()}; key file has mode {mode:o}"


def _files(state: Path) -> Iterator[str]:
    """Names, sizes and modes: no content."""
    for number, path in enumerate(sorted(state.rglob("*"))):
        if number == 3000:
            yield "and more"
            return
        row = path.lstat()
        yield f"{row.st_mode:06o} {row.st_uid:5} {row.st_size:10} {path.relative_to(state)}"


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout


def _packed(parts: dict[str, str]) -> bytes:
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, text in sorted(parts.items()):
            data, row = text.encode(), tarfile.TarInfo(f"edgefleet-diag/{name}")
            row.size, row.mode, row.mtime = len(data), 0o640, int(time.time())
            tar.addfile(row, io.BytesIO(data))
    return raw.getvalue()
