"""Every topic, in one table: who writes it, who reads it, and whether the broker keeps it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import BadName
from .names import check_label, is_sha256

Kind = Literal[
    "trust",
    "target",
    "chunk",
    "assignment",
    "state",
    "presence",
    "event",
    "command",
    "reply",
    "need",
    "telemetry",
    "note",
]

METADATA_NAME = re.compile(r"^(?:head|timestamp\.json|[1-9][0-9]{0,9}\.[a-z0-9-]{1,80}\.json)\Z")
"""`head`, `timestamp.json`, `<n>.<role>.json`: consistent snapshots."""


@dataclass(frozen=True)
class Row:
    """One kind of topic. `{x}` is one level; `{id}` is the device's own id."""

    kind: Kind
    pattern: str
    retained: bool
    writer: Literal["server", "device"]
    reader: Literal["server", "device", "all"]


TABLE = (
    Row("trust", "trust/{name}", True, "server", "all"),
    Row("target", "target/{name}", True, "server", "all"),
    Row("chunk", "chunk/{name}", True, "server", "all"),
    Row("assignment", "device/{id}/assignment", True, "server", "device"),
    Row("state", "device/{id}/state", True, "device", "server"),
    Row("presence", "device/{id}/presence", True, "device", "server"),
    Row("event", "device/{id}/event", False, "device", "server"),
    Row("command", "device/{id}/command", False, "server", "device"),
    Row("reply", "device/{id}/reply", False, "device", "server"),
    Row("need", "device/{id}/need", False, "device", "server"),
    Row("telemetry", "telemetry/{id}", False, "device", "server"),
    # The server's note to itself of what it has put on the broker.
    Row("note", "server/retained", True, "server", "server"),
)

HUB = "hub"
"""The name in the server's own certificate. No device may be called so."""


@dataclass(frozen=True)
class Right:
    """One thing that a client may do: read what a filter matches, or write there."""

    access: Literal["read", "write"]
    filter: str


@dataclass(frozen=True)
class Parsed:
    """What a topic says: its kind, and the device id, digest or metadata name in it."""

    kind: Kind
    name: str


class Topics:
    """The topics of one fleet."""

    def __init__(self, fleet: str) -> None:
        self.fleet = check_label("fleet", fleet)
        self.prefix = f"edgefleet/v1/{fleet}"

    def trust(self, name: str) -> str:
        """`trust/head`, `trust/timestamp.json` or `trust/<n>.<role>.json`."""
        if not METADATA_NAME.match(name):
            raise BadName(f"{name!r} does not name trust metadata")
        return f"{self.prefix}/trust/{name}"

    def target(self, sha256: str) -> str:
        """A manifest, rollout document or key list, by the digest that the metadata names."""
        return f"{self.prefix}/target/{_digest(sha256)}"

    def chunk(self, sha256: str) -> str:
        """A chunk, by the digest of its plain bytes."""
        return f"{self.prefix}/chunk/{_digest(sha256)}"

    def of_device(self, device: str, kind: Kind) -> str:
        """A topic of one device: `state`, `presence`, `event`, `assignment`, `command`, `reply`, `need`, `telemetry`."""
        row = next(row for row in TABLE if row.kind == kind)
        if "{id}" not in row.pattern:
            raise BadName(f"{kind} is no topic of one device")
        return f"{self.prefix}/{row.pattern.replace('{id}', check_label('device', device))}"

    def all_devices(self, kind: Kind) -> str:
        """The filter by which the server reads `kind` of every device."""
        row = next(row for row in TABLE if row.kind == kind)
        if "{id}" not in row.pattern:
            raise BadName(f"{kind} is no topic of devices")
        return f"{self.prefix}/{row.pattern.replace('{id}', '+')}"

    def watched(self, *, whole: bool) -> tuple[str, ...]:
        """The filters by which the server sees what became of its own retained topics.

        whole: also documents, which devices check by their hash and ask for anew; worth their bytes only where anybody may write.
        """
        kinds = ("trust", "assignment", "target") if whole else ("trust", "assignment")
        return tuple(self._filter(row, "+") for row in TABLE if row.kind in kinds)

    def parse(self, topic: str) -> Parsed:
        """Return what `topic` is; raise BadName for one that no row of the table makes."""
        if not topic.startswith(self.prefix + "/"):
            raise BadName(f"{topic!r} is not below {self.prefix}")
        parts = topic[len(self.prefix) + 1 :].split("/")
        for row in TABLE:
            pattern = row.pattern.split("/")
            if len(parts) != len(pattern):
                continue
            name = ""
            for part, want in zip(parts, pattern, strict=True):
                if want.startswith("{"):
                    name = part
                elif want != part:
                    break
            else:
                _check_name(row.kind, name, topic)
                return Parsed(row.kind, name)
        raise BadName(f"{topic!r} is no topic of this protocol")

    @property
    def note(self) -> str:
        """Where the server notes what it has put on the broker."""
        return f"{self.prefix}/server/retained"

    def rights_of_device(self, device: str) -> tuple[Right, ...]:
        """Return what a device may do: write below its own name, read its own and the shared. `device` may be a placeholder."""
        found: list[Right] = []
        for row in TABLE:
            topic = self._filter(row, device)
            if row.writer == "device":
                found.append(Right("write", topic))
            if row.reader in ("device", "all"):
                found.append(Right("read", topic))
        return tuple(found)

    def rights_of_server(self) -> tuple[Right, ...]:
        """Return what the server may do: read what devices say, write the rest, and look at and clear what is retained."""
        found: list[Right] = []
        for row in TABLE:
            if row.writer == "device" or row.retained:
                found.append(Right("read", self._filter(row, "+")))
            if row.writer == "server" or row.retained:
                found.append(Right("write", self._filter(row, "+")))
        return tuple(found)

    def rights_of_bridge(self) -> tuple[Right, ...]:
        """Return what a region's broker may do at the fleet's: read what its devices read, write what they say."""
        found: list[Right] = []
        for row in TABLE:
            if row.writer == "device":
                found.append(Right("write", self._filter(row, "+")))
            elif row.reader != "server":
                found.append(Right("read", self._filter(row, "+")))
        return tuple(found)

    def rights_of_helper(self) -> tuple[Right, ...]:
        """Return what a process may do that takes telemetry beside the server: read it."""
        return tuple(Right("read", self._filter(row, "+")) for row in TABLE if row.kind == "telemetry")

    def acl(self, hub: str = HUB, bridges: Sequence[str] = (), helpers: Sequence[str] = ()) -> str:
        """Return all that as Mosquitto's access list; `hub`, `bridges` and `helpers` are names in certificates."""
        lines = ["# Made from edgefleet_protocol.topics; %u is the name in the client's certificate."]
        lines += [f"pattern {right.access} {right.filter}" for right in self.rights_of_device("%u")]
        lines.append(f"user {hub}")
        lines += [f"topic {right.access} {right.filter}" for right in self.rights_of_server()]
        for helper in helpers:
            lines.append(f"user {helper}")
            lines += [f"topic {right.access} {right.filter}" for right in self.rights_of_helper()]
        for bridge in bridges:
            lines.append(f"user {bridge}")
            lines += [f"topic {right.access} {right.filter}" for right in self.rights_of_bridge()]
        return "\n".join(lines) + "\n"

    def _filter(self, row: Row, device: str) -> str:
        return f"{self.prefix}/{row.pattern.replace('{id}', device).replace('{name}', '+')}"


def _digest(sha256: str) -> str:
    if not is_sha256(sha256):
        raise BadName(f"{sha256!r} is not a SHA-256")
    return sha256


def _check_name(kind: Kind, name: str, topic: str) -> None:
    if kind in ("target", "chunk"):
        ok = is_sha256(name)
    elif kind == "trust":
        ok = METADATA_NAME.match(name) is not None
    elif kind == "note":
        ok = True
    else:
        check_label("device", name)
        ok = True
    if not ok:
        raise BadName(f"{topic!r} does not name a {kind}")
