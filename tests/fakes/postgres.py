"""A real PostgreSQL in a folder of its own, run as nobody in particular: Debian's programs, a Unix socket, no password."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Postgres:
    """`with Postgres() as cluster:` runs one; `new` gives an empty database in it, `stop` and `start` take it away and back."""

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = fsync
        if not PROGRAMS:
            raise RuntimeError("these tests need PostgreSQL: apt install postgresql")
        self._bin = PROGRAMS[-1]
        # In /tmp: the path of a Unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="edgefleet-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        self._user = user.pw_uid if user is not None else None
        self._group = user.pw_gid if user is not None else None
        self._groups: tuple[str, ...] | None = () if user is not None else None

    def __enter__(self) -> Postgres:
        if self._user is not None and self._group is not None:
            os.chown(self.folder, self._user, self._group)
        data = self.folder / "data"
        done = subprocess.run(
            [self._bin / "initdb", "-D", data, "-U", "edgefleet", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True, text=True, check=False, cwd=self.folder,
            user=self._user, group=self._group, extra_groups=self._groups,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr[-500:]}")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, and return once it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "60",
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.folder / "data", *(f"--{name}={value}" for name, value in options.items())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                user=self._user, group=self._group, extra_groups=self._groups,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while self._sql("postgres", "SELECT 1", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-800:])
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as a machine that goes down would: connections are cut."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
                return
            process.kill()
            process.wait()

    def new(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"d{secrets.token_hex(6)}"
        self._sql("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        """Return the URL of a database by its name."""
        return f"postgresql://edgefleet@/{name}?host={self.folder}"

    def _sql(self, database: str, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._bin / "psql", "-h", self.folder, "-U", "edgefleet", "-d", database, "-qtAc", text],
            capture_output=True, text=True, check=check,
        )  # fmt: skip
