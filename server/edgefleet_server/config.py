"""server.toml as a frozen value, with every default in one place."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomllib

from edgefleet_protocol.names import check_label
from edgefleet_protocol.policy_check import BadPolicy, check_policy
from edgefleet_protocol.rollout import Policy

from .errors import BadConfig

T = TypeVar("T")

HTTP_PORT = 8300
MQTT_PORT = 1883
RETAINED_BUDGET_BYTES = 200_000_000
"""A retained store is the broker's memory, and saving it stops the broker: 1.2 s for 100 MB was measured."""


@dataclass(frozen=True)
class BrokerConfig:
    """Where the broker is."""

    host: str = "127.0.0.1"
    port: int = MQTT_PORT
    retained_budget_bytes: int = RETAINED_BUDGET_BYTES


@dataclass(frozen=True)
class HttpConfig:
    """Where the API and the dashboard listen."""

    host: str = "127.0.0.1"
    port: int = HTTP_PORT


@dataclass(frozen=True)
class RolloutConfig:
    """How the controller looks at the fleet."""

    tick_s: float = 1.0
    """It looks at least this often; a message that matters makes it look at once."""
    offline_after_s: float = 120.0
    """A device that has said nothing for this long and never saw the release is counted apart."""


@dataclass(frozen=True)
class KeepConfig:
    """How much of what devices say is kept, and for how long."""

    windows_days: float = 7.0
    """Telemetry older than that is removed."""
    events_days: float = 90.0
    windows_per_device_per_hour: int = 2_000
    """Above one every two seconds, the shortest that is in use; what one device sends beyond it is refused and counted."""
    events_per_device_per_hour: int = 1_000


@dataclass(frozen=True)
class ServerConfig:
    """Everything that `edgefleet server run` reads from its file."""

    repository: Path
    """The folder of the TUF repository, made by `edgefleet trust init`."""
    keys: Path
    """The folder that holds `online/`: the keys that sign rollouts."""
    data: Path
    """The database lives here."""
    broker: BrokerConfig = BrokerConfig()
    http: HttpConfig = HttpConfig()
    rollouts: RolloutConfig = RolloutConfig()
    keep: KeepConfig = KeepConfig()
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """By region: what a rollout there uses when it names no policy of its own."""

    def policy(self, region: str) -> Policy:
        """Return the region's policy, or the default one."""
        return self.policies.get(region, Policy())


def load(path: Path) -> ServerConfig:
    """Return the configuration in the TOML file at `path`; relative folders are relative to the file.

    Raises BadConfig with the key at fault.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}. Name the file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not TOML: {error}") from error
    return parse(table, path.parent)


def parse(table: Mapping[str, Any], base: Path) -> ServerConfig:
    """Return the configuration that `table` says; raise BadConfig for an unknown key or a value of the wrong kind."""
    _known("", table, {"repository", "keys", "data", "broker", "http", "rollouts", "keep", "regions"})
    folders: dict[str, Path] = {}
    for key in ("repository", "keys", "data"):
        value = table.get(key)
        if not isinstance(value, str) or not value:
            raise BadConfig(f"{key} is missing: name a folder, as in {key} = '/var/lib/edgefleet/{key}'")
        folders[key] = base / value
    http = _section(table, "http", HttpConfig)
    keep = _section(table, "keep", KeepConfig)
    for name in KeepConfig.__dataclass_fields__:
        if not getattr(keep, name) > 0:
            raise BadConfig(f"keep.{name} is {getattr(keep, name)}: write a number above 0")
    refuse_open_address(http.host)
    return ServerConfig(
        repository=folders["repository"],
        keys=folders["keys"],
        data=folders["data"],
        broker=_section(table, "broker", BrokerConfig),
        http=http,
        rollouts=_section(table, "rollouts", RolloutConfig),
        keep=keep,
        policies=_policies(table.get("regions", {})),
    )


def refuse_open_address(host: str) -> None:
    """Raise BadConfig unless `host` can be reached from this machine only."""
    if host == "localhost":
        return
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise BadConfig(f"http.host is {host!r}: write an address, 127.0.0.1 or ::1") from error
    if not address.is_loopback:
        raise BadConfig(
            f"http.host is {host}, which other machines can reach, and this version knows no users yet: whoever "
            "reached it could roll out any signed release. Use 127.0.0.1, and an SSH tunnel from elsewhere"
        )


def _policies(regions: object) -> dict[str, Policy]:
    if not isinstance(regions, Mapping):
        raise BadConfig("regions must be a table of regions, as in [regions.eu-west.policy]")
    result: dict[str, Policy] = {}
    for region, rows in regions.items():
        check_label("region", region)
        _known(f"regions.{region}.", rows, {"policy"})
        policy = rows.get("policy", {})
        _known(f"regions.{region}.policy.", policy, set(Policy.__struct_fields__))
        try:
            result[region] = msgspec.convert(policy, Policy)
            check_policy(result[region])
        except (msgspec.ValidationError, BadPolicy) as error:
            raise BadConfig(f"regions.{region}.policy: {error}") from error
    return result


def _section(table: Mapping[str, Any], name: str, kind: type[T]) -> T:
    rows = table.get(name, {})
    if not isinstance(rows, Mapping):
        raise BadConfig(f"{name} must be a table, as in [{name}]")
    _known(f"{name}.", rows, set(kind.__dataclass_fields__))  # type: ignore[attr-defined]
    try:
        return msgspec.convert(dict(rows), kind)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{name}: {error}") from error


def _known(where: str, rows: object, keys: set[str]) -> None:
    if not isinstance(rows, Mapping):
        raise BadConfig(f"{where.rstrip('.')} must be a table")
    if extra := sorted(set(rows) - keys):
        raise BadConfig(f"{where}{extra[0]} is not known. Known here: {', '.join(sorted(keys))}")
