"""A real enrolment door on loopback, over a real database, with a clock that tests set; and what a device holds against it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgefleet_agent.enrol import Board
from edgefleet_agent.enrol_seed import Seed, save
from edgefleet_server.identity import tokens
from edgefleet_server.identity.authority import Authority, establish, fingerprint
from edgefleet_server.identity.desk import Desk
from edgefleet_server.identity.door import Door, Settings
from edgefleet_server.identity.listener import Listener
from edgefleet_server.identity.tokens import Token
from edgefleet_server.ingest.counters import Counters
from edgefleet_server.regions.current import own_broker
from edgefleet_server.store import audit, enrol_tokens
from edgefleet_server.store.database import Database
from edgefleet_trust.passphrase import Passphrase

SECRET = Passphrase(b"four words of a test")
"""One object: it remembers what scrypt made of it."""
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc).timestamp()
DAY = 86400.0
ROOT = b'{"signed": {"_type": "root", "version": 1}}'


@dataclass
class SetClock:
    """A server's clock that stands where a test puts it."""

    at_s: float = NOW

    def now(self) -> float:
        """Seconds since 1970."""
        return self.at_s


class Enrolments:
    """`with Enrolments(tmp_path) as door:` listens on `door.url`."""

    def __init__(self, folder: Path, at_s: float = NOW, broker: tuple[str, int] = ("127.0.0.1", 8883)) -> None:
        self.folder, self.clock, self.counters = folder / "server", SetClock(at_s), Counters()
        self.assigned: list[tuple[str, str, tuple[str, ...]]] = []
        self.folder.mkdir(exist_ok=True)
        self._broker = broker
        self._stack = ExitStack()

    def __enter__(self) -> Enrolments:
        # By the true time: devices check the server's own certificate by the machine's clock.
        now = datetime.now(timezone.utc)
        place = self.folder / "identity"
        if place.exists():
            self.authority = Authority.load(place, SECRET)
        else:
            self.authority = establish(place, "demo", ["127.0.0.1", "localhost"], SECRET, now)
        self.database = Database(self.folder / "server.sqlite3")
        self._stack.callback(self.database.close)
        self.desk = Desk(self.authority, self.database, self.clock, self.counters, self._assign)
        settings = Settings("demo", "https://127.0.0.1", *self._broker, root=lambda: ROOT, broker_of=self._broker_of)
        self.door = Door(self.desk, self.authority.certificate, settings)
        self.listener = Listener("127.0.0.1", 0, place, self.door)
        self.listener.start()
        self._stack.callback(self.listener.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.listener.port}"

    def token(self, region: str = "eu-west", **fields: object) -> str:
        """Make a token as the command does; return it as people copy it."""
        secret = tokens.new_secret()
        sha256 = tokens.hashed(tokens.password(secret))
        values = {
            "id": tokens.identifier(sha256),
            "sha256": sha256,
            "region": region,
            "tags": (),
            "created_s": self.clock.now(),
            "expires_s": self.clock.now() + tokens.LIFE_S,
            **fields,
        }
        with self.database.write() as connection:
            enrol_tokens.add(connection, Token(**values))  # type: ignore[arg-type]
        return tokens.written(fingerprint(self.authority.certificate), secret)

    def audit(self) -> list[str]:
        """Return the latest deeds, the newest first, as `action subject outcome`."""
        with self.database.read() as connection:
            return [f"{row.action} {row.subject} {row.outcome}" for row in audit.latest(connection)]

    def _broker_of(self, region: str) -> tuple[str, int] | None:
        with self.database.read() as connection:
            return own_broker(connection, region)

    def _assign(self, device: str, region: str, tags: tuple[str, ...], actor: str) -> None:
        self.assigned.append((device, region, tags))


def board(folder: Path, serial: str | None = "10000000abcdef12") -> Board:
    """Return a board whose firmware says this serial."""
    tree = folder / "sys/firmware/devicetree/base"
    tree.mkdir(parents=True, exist_ok=True)
    if serial is not None:
        (tree / "serial-number").write_bytes(serial.encode() + b"\0")
    (tree / "compatible").write_bytes(b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    return Board(folder, "aarch64")


def seeded(state: Path, url: str, token: str, device: str | None = "porch-1", region: str | None = None) -> Seed:
    """Note down below `state` how to enrol."""
    state.mkdir(parents=True, exist_ok=True)
    seed = Seed(url=url, token=token, device=device, region=region)
    save(state, seed)
    return seed
