"""server.toml as a frozen value, with every default in one place."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomllib

from edgefleet_protocol.names import check_label
from edgefleet_protocol.policy_check import BadPolicy, check_policy
from edgefleet_protocol.rollout import Policy

from .alerts.config import AlertsConfig, read_alerts
from .errors import BadConfig
from .keeping import RegionKeep, longest_days, read_region_keep
from .misfit import misfit
from .store.place import DatabaseConfig, database_place, read_database

T = TypeVar("T")

HTTP_PORT = 8300
MQTT_PORT = 1883
MQTT_TLS_PORT = 8883
RETAINED_BUDGET_BYTES = 200_000_000
"""A retained store is the broker's memory, and saving it stops the broker: 1.2 s for 100 MB was measured."""


BROKER_PATHS = ("ca", "certificate", "key", "probe_certificate", "probe_key", "crl", "pid_file")
MAX_PORT = 65535


@dataclass(frozen=True)
class BrokerConfig:
    """Where the broker is, and how it is told whom to let in. Devices obey what it carries only where it is signed, but an
    open one lets anybody read, overwrite and flood."""

    host: str = "127.0.0.1"
    port: int = MQTT_PORT
    retained_budget_bytes: int = RETAINED_BUDGET_BYTES
    open: bool = False
    """A broker on this machine that asks for no certificate: for a demo or a desk."""
    ca: Path | None = None
    """The fleet's authority. With it the connection is TLS, with `certificate` and `key` as the server's own."""
    certificate: Path | None = None
    key: Path | None = None
    probe_certificate: Path | None = None
    """A certificate that is no device's, `hub-probe`: at the start it is tried whether its like can write what it must not."""
    probe_key: Path | None = None
    crl: Path | None = None
    """Where the broker reads the revocation list; none: the one beside `ca`."""
    reload: tuple[str, ...] = ()
    """The command that makes the broker read it anew."""
    pid_file: Path | None = None
    """Instead of a command: the file with the broker's process id, on this machine."""


@dataclass(frozen=True)
class HttpConfig:
    """Where the API and the dashboard listen."""

    host: str = "127.0.0.1"
    port: int = HTTP_PORT
    open: bool = False
    """Whoever reaches loopback may do everything, without a token: for development, and for nobody else's machine."""
    certificate: str = ""
    key: str = ""
    """PEM files: with both, the server speaks TLS."""
    behind_proxy: bool = False
    """Something before this server speaks TLS to the world, and it alone can reach `host`."""
    names: tuple[str, ...] = ()
    """Hosts that requests may be for, beside those of loopback."""
    url: str = ""
    """Where clients reach the one server: processes beside it name it to whoever asks for what it alone can do."""

    @property
    def address(self) -> str:
        """Return `url`, or else what this process would be reached by on its own machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.url or f"{'https' if self.certificate else 'http'}://{host}:{self.port}"


@dataclass(frozen=True)
class IngestConfig:
    """How telemetry is taken in."""

    shared: bool | None = None
    """Whether by a shared subscription, which several processes can have; default: unless the broker is open."""


@dataclass(frozen=True)
class RolloutConfig:
    """How the controller looks at the fleet."""

    tick_s: float = 1.0
    """It looks at least this often; a message that matters makes it look at once."""
    offline_after_s: float = 120.0
    """A device that has said nothing for this long and never saw the release is counted apart."""
    frozen_after_s: float = 600.0
    """A device that is online and has not verified for this long what is out is shown as frozen."""


@dataclass(frozen=True)
class KeepConfig:
    """How much of what devices say is kept, and for how long."""

    windows_days: float = 7.0
    """Telemetry older than that is removed."""
    quarters_days: float = 30.0
    """Fifteen minutes of a device, once its windows are gone."""
    events_days: float = 90.0
    windows_per_device_per_hour: int = 2_000
    """Above one every two seconds, the shortest that is in use; what one device sends beyond it is refused and counted."""
    events_per_device_per_hour: int = 1_000
    minute_rollups_days: float = 2.0
    hour_rollups_days: float = 90.0
    day_rollups_days: float = 1_100.0
    """Three years."""


@dataclass(frozen=True)
class IdentityConfig:
    """Where the fleet's certificate authority lies."""

    folder: Path
    """Made by `edgefleet server identity init`."""


@dataclass(frozen=True)
class EnrolmentConfig:
    """Where devices come in. `port` of 0: nowhere."""

    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    """As devices reach it; default: the two above."""
    broker_host: str = ""
    """As devices reach the broker; default: as the server does."""
    broker_port: int = 0


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
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    ingest: IngestConfig = IngestConfig()
    rollouts: RolloutConfig = RolloutConfig()
    keep: KeepConfig = KeepConfig()
    identity: IdentityConfig | None = None
    enrolment: EnrolmentConfig = EnrolmentConfig()
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    kept_at: str = ""
    """What this server calls where it keeps its data, as regions name it in `telemetry.kept_at`."""
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """By region: what a rollout there uses when it names no policy of its own."""

    @property
    def place(self) -> Path | str:
        """Where the database is: an SQLite file, or a URL of PostgreSQL with its password."""
        return database_place(self.database, self.data)

    region_keeps: Mapping[str, RegionKeep] = field(default_factory=dict)
    """By region: how long its telemetry is kept, where not as `keep` says, and whether it may be exported."""

    @property
    def longest_keep(self) -> KeepConfig:
        """`keep`, with windows for as long as any region keeps them."""
        return replace(self.keep, windows_days=longest_days(self.keep.windows_days, self.region_keeps))

    def policy(self, region: str) -> Policy:
        """Return the region's policy, or the default one."""
        return self.policies.get(region, Policy())


def load(path: Path) -> ServerConfig:
    """Return the configuration in the TOML file at `path`; relative folders are relative to the file.

    Raises BadConfig with the file and the key at fault.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}. Name the file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not TOML: {error}") from error
    try:
        return parse(table, path.parent)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error


def parse(table: Mapping[str, Any], base: Path) -> ServerConfig:
    """Return the configuration that `table` says; raise BadConfig for an unknown key or a value of the wrong kind."""
    _known(
        "",
        table,
        {
            "repository",
            "keys",
            "data",
            "broker",
            "http",
            "database",
            "ingest",
            "rollouts",
            "keep",
            "regions",
            "identity",
            "enrolment",
            "alerts",
            "place",
        },
    )
    folders: dict[str, Path] = {}
    for key in ("repository", "keys", "data"):
        value = table.get(key)
        if not isinstance(value, str) or not value:
            raise BadConfig(f"{key} is missing: name a folder, as in {key} = '/var/lib/edgefleet/{key}'")
        folders[key] = base / value
    http = _http(_section(table, "http", HttpConfig), base)
    keep = _section(table, "keep", KeepConfig)
    for name in KeepConfig.__dataclass_fields__:
        if not getattr(keep, name) > 0:
            raise BadConfig(f"keep.{name} is {getattr(keep, name)}: write a number above 0")
    identity = _identity(table, base)
    return ServerConfig(
        repository=folders["repository"],
        keys=folders["keys"],
        data=folders["data"],
        broker=_broker(table, base, identity),
        http=http,
        database=read_database(_section(table, "database", DatabaseConfig), base),
        ingest=_section(table, "ingest", IngestConfig),
        rollouts=_section(table, "rollouts", RolloutConfig),
        keep=keep,
        identity=identity,
        enrolment=_section(table, "enrolment", EnrolmentConfig),
        alerts=read_alerts(table, base),
        kept_at=_place(table),
        policies=_policies(table.get("regions", {})),
        region_keeps={
            region: read_region_keep(region, rows["keep"])
            for region, rows in table.get("regions", {}).items()
            if "keep" in rows
        },
    )


def _place(table: Mapping[str, Any]) -> str:
    place = table.get("place", "")
    if not isinstance(place, str):
        raise BadConfig(f"place is {place!r}: write a name in quotes, as in place = 'frankfurt'")
    return check_label("place", place) if place else ""


def _http(http: HttpConfig, base: Path) -> HttpConfig:
    """Return it with its files relative to the configuration; raise BadConfig for what would let everybody in."""
    if bool(http.certificate) != bool(http.key):
        raise BadConfig("http.certificate and http.key belong together: one of them is missing")
    if http.certificate:
        certificate, key = (str(base / name) for name in (http.certificate, http.key))
        for name, path in (("certificate", certificate), ("key", key)):
            if not Path(path).is_file():
                raise BadConfig(f"http.{name} names {path}, and there is no such file")
        http = replace(http, certificate=certificate, key=key)
    if is_loopback(http.host):
        return http
    if http.open:
        raise BadConfig(
            f"http.open is for loopback, and http.host is {http.host}, which other machines can reach: leave open out, and "
            "make tokens with edgefleet server admin new"
        )
    if not http.certificate and not http.behind_proxy:
        raise BadConfig(
            f"http.host is {http.host}, which other machines can reach, and tokens would go there unencrypted: give "
            "http.certificate and http.key, or say http.behind_proxy = true when something before it speaks TLS. Else use "
            "127.0.0.1, and an SSH tunnel from elsewhere"
        )
    if not http.names and ipaddress.ip_address(http.host).is_unspecified:
        raise BadConfig(
            f"http.host is {http.host}, every address of this machine: say with http.names by which names it is asked, as in "
            'names = ["fleet.example.org"]'
        )
    return http


def listening(config: ServerConfig, host: str, port: int) -> ServerConfig:
    """Return `config` for a process that listens elsewhere; raise BadConfig where the same rules would refuse the address."""
    return replace(config, http=_http(replace(config.http, host=host, port=port), Path()))


def is_loopback(host: str) -> bool:
    """Return whether `host` can be reached from this machine only; raise BadConfig for one that is no address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise BadConfig(f"http.host is {host!r}: write an address, 127.0.0.1 or ::1") from error


def _identity(table: Mapping[str, Any], base: Path) -> IdentityConfig | None:
    if "identity" not in table:
        return None
    _known("identity.", table["identity"], {"folder"})
    folder = table["identity"].get("folder")
    if not isinstance(folder, str) or not folder:
        raise BadConfig("identity.folder is missing: name the folder that edgefleet server identity init makes")
    return IdentityConfig(base / folder)


def _broker(table: Mapping[str, Any], base: Path, identity: IdentityConfig | None) -> BrokerConfig:
    """Return it; with an identity and nothing else said, the hub goes to the broker with the certificate made there."""
    rows = table.get("broker", {})
    if not isinstance(rows, Mapping):
        raise BadConfig("broker must be a table, as in [broker]")
    paths: dict[str, Path] = {}
    for name in BROKER_PATHS:
        if name in rows:
            if not isinstance(rows[name], str) or not rows[name]:
                raise BadConfig(f"broker.{name} is {rows[name]!r}: write a path in quotes")
            paths[name] = base / rows[name]
    rest = {name: value for name, value in rows.items() if name not in BROKER_PATHS}
    found = replace(_section({"broker": rest}, "broker", BrokerConfig), **paths)  # type: ignore[arg-type]
    if identity is None or found.open or {"ca", "certificate", "key"} & set(paths):
        return found
    folder = identity.folder
    found = replace(found, ca=folder / "ca.pem", certificate=folder / "hub.pem", key=folder / "hub.key")
    if not {"probe_certificate", "probe_key"} & set(paths):
        found = replace(found, probe_certificate=folder / "hub-probe.pem", probe_key=folder / "hub-probe.key")
    return found if "port" in rest else replace(found, port=MQTT_TLS_PORT)


def _policies(regions: object) -> dict[str, Policy]:
    if not isinstance(regions, Mapping):
        raise BadConfig("regions must be a table of regions, as in [regions.eu-west.policy]")
    result: dict[str, Policy] = {}
    for region, rows in regions.items():
        check_label("region", region)
        _known(f"regions.{region}.", rows, {"policy", "keep"})
        policy = rows.get("policy", {})
        _known(f"regions.{region}.policy.", policy, set(Policy.__struct_fields__))
        try:
            result[region] = msgspec.convert(policy, Policy)
            check_policy(result[region])
        except msgspec.ValidationError as error:
            raise BadConfig(f"regions.{region}.policy: {misfit(error, policy, Policy)}") from error
        except BadPolicy as error:
            raise BadConfig(f"regions.{region}.policy: {error}") from error
    return result


def _section(table: Mapping[str, Any], name: str, kind: type[T]) -> T:
    rows = table.get(name, {})
    if not isinstance(rows, Mapping):
        raise BadConfig(f"{name} must be a table, as in [{name}]")
    _known(f"{name}.", rows, set(kind.__dataclass_fields__))  # type: ignore[attr-defined]
    try:
        found = msgspec.convert(dict(rows), kind)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{name}: {misfit(error, rows, kind)}") from error
    for key in ("port", "broker_port"):
        if not 0 <= getattr(found, key, 0) <= MAX_PORT:
            raise BadConfig(f"{name}.{key} is {getattr(found, key)}: a port is a number up to {MAX_PORT}")
    return found


def _known(where: str, rows: object, keys: set[str]) -> None:
    if not isinstance(rows, Mapping):
        raise BadConfig(f"{where.rstrip('.')} must be a table")
    if extra := sorted(set(rows) - keys):
        raise BadConfig(f"{where}{extra[0]} is not known. Known here: {', '.join(sorted(keys))}")
