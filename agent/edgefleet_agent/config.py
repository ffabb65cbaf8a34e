"""`agent.toml`: what the owner of a device says about it. A key that is not known is refused by name."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label
from edgefleet_protocol.wrong_type import converted

from .config_bounds import check_bounds, check_folders, check_texts
from .errors import BadConfig, BadIdentity
from .identity_config import with_identity
from .text_file import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


PLACE = Path("/etc/edgefleet/agent.toml")
"""Where it is unless another place is named; the package puts it there."""
PAGE = "docs/reference/configuration.md"
MAX_RUN_BYTES = 89
"""Of a socket's 107: leaves room for `/`, a model's name of 12 and `.sock`. A longer name is refused when it comes."""
EXAMPLES = {"fleet": "demo", "device": "porch-1", "root": "1.root.json"}


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is. With `ca`, the connection is TLS; with `certificate` and `key`, mutual."""

    host: str = "127.0.0.1"
    port: int = 1883
    keepalive_s: int = 60
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class HardwareRoots(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the device's own files lie; tests and the demo point elsewhere."""

    root: Path = Path("/")
    machine: str | None = None
    """Instead of what `uname -m` says."""
    sensors: tuple[str, ...] = ()
    """Plug-ins to ask for battery and power, by their names in the entry-point group `edgefleet.sensors`."""


class Serve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models are served."""

    port_base: int = 0
    """The first model's loopback port, the next one's is one higher; 0: any free port."""
    gateway_port: int = 0
    """The loopback port for all models; 0: any free port."""
    loopback: bool = True
    """Whether there are ports on 127.0.0.1 at all."""
    group: str = ""
    """Whose members may connect to the Unix sockets; empty: everybody."""
    allow_uids: tuple[int, ...] = ()
    allow_gids: tuple[int, ...] = ()
    """Who may, by user or group; both empty: everybody that the socket lets in."""
    shared_memory: bool = False
    """Regions of /dev/shm by name, as other clients of the protocol use them."""
    threads: int = 1
    """Of one inference, unless a trial finds a better way; 0: the trial may try up to every core."""
    drain_s: float = 10.0
    golden_deadline_s: float = 30.0
    """For the golden answers through the serving path, after a switch."""


class Fetch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How chunks and documents are asked for."""

    patience_s: float = 30.0
    """Silence after which a chunk is asked for again; half of it for a document. A slow link is given more by itself."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the agent leaves to the rest of the system."""

    reserve_bytes: int = 50_000_000
    """Of the disk."""


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the owner knows of the device's links."""

    metered: tuple[str, ...] = ()
    """Interfaces whose bytes cost money, by name or, as in `wwan*`, by the beginning of it."""


class HomeAssistant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The owner's own broker, where Home Assistant finds this device; off while `host` is empty."""

    host: str = ""
    port: int = 1883
    username: str = ""
    password_file: Path | None = None
    ca: Path | None = None
    """With it, the connection is TLS."""
    prefix: str = "homeassistant"
    """Of discovery, as Home Assistant is set up."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. Relative paths are relative to it; once loaded, all are absolute: children start in `/`."""

    fleet: str = ""
    device: str = ""
    root: Path = Path()
    """The pinned root of trust, `1.root.json`. An identity brings these three, and the broker."""
    state: Path = Path("state")
    run: Path = Path("run")
    broker: Broker = Broker()
    hardware: HardwareRoots = HardwareRoots()
    serve: Serve = Serve()
    fetch: Fetch = Fetch()
    limits: Limits = Limits()
    network: Network = Network()
    home_assistant: HomeAssistant = HomeAssistant()


@dataclass(frozen=True)
class _Paths:
    base: Path
    """Absolute."""

    def of(self, path: Path) -> Path:
        return path if path.is_absolute() else self.base / path


def load(path: Path, *, complete: bool = True) -> Config:
    """Return the configuration in the TOML file at `path`; raise BadConfig, naming the file, the key and what is allowed.

    complete: False for a device that is about to enrol, which may lack what its identity will bring.
    """
    try:
        data: dict[str, Any] = tomllib.loads(read_text(path))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}. Name the file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadConfig(f"{path} is not TOML: {error}") from error
    try:
        return from_dict(data, path.parent, complete=complete)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}. Every key is described in {PAGE}") from error


def from_dict(data: dict[str, Any], base: Path, *, complete: bool = True) -> Config:
    """Return the configuration in `data`; paths are relative to `base`."""
    _check_keys(data, Config, "")
    check_texts(data)
    try:
        data = with_identity(data, base.absolute())
    except BadIdentity as error:
        raise BadConfig(str(error)) from error
    if complete:
        _check_lacking([name for name in EXAMPLES if name not in data])
    try:
        config = converted(data, Config, "", BadConfig, _path)
        for name in ("fleet", "device"):
            if name in data:
                check_label(name, getattr(config, name))
    except BadName as error:
        raise BadConfig(str(error)) from error
    for name, port in (
        ("broker.port", config.broker.port),
        ("home_assistant.port", config.home_assistant.port),
        ("serve.port_base", config.serve.port_base),
        ("serve.gateway_port", config.serve.gateway_port),
    ):
        if not 0 <= port <= 65535:
            raise BadConfig(f"{name} is {port}; a port is a number up to 65535")
    check_bounds(config)
    serve = config.serve
    if serve.loopback and (serve.group or serve.allow_uids or serve.allow_gids):
        raise BadConfig(
            "serve.group and serve.allow_* say who may ask, and serve.loopback is true, by which everybody on the device "
            "may: set serve.loopback = false, or leave them out"
        )
    if (config.broker.certificate is None) != (config.broker.key is None):
        raise BadConfig("broker.certificate and broker.key belong together; one of them is missing")
    paths = _Paths(base.absolute())
    broker = msgspec.structs.replace(
        config.broker,
        ca=paths.of(config.broker.ca) if config.broker.ca else None,
        certificate=paths.of(config.broker.certificate) if config.broker.certificate else None,
        key=paths.of(config.broker.key) if config.broker.key else None,
    )
    home = config.home_assistant
    home = msgspec.structs.replace(
        home,
        ca=paths.of(home.ca) if home.ca else None,
        password_file=paths.of(home.password_file) if home.password_file else None,
    )
    hardware = msgspec.structs.replace(config.hardware, root=paths.of(config.hardware.root))
    if not hardware.root.is_dir():
        raise BadConfig(
            f"hardware.root is {hardware.root} and there is no such folder; it is the one that holds proc and sys, "
            "and / unless this is a test"
        )
    check_folders(state=paths.of(config.state), run=paths.of(config.run))
    return msgspec.structs.replace(
        config,
        root=paths.of(config.root),
        state=paths.of(config.state),
        run=paths.of(config.run),
        broker=broker,
        hardware=hardware,
        home_assistant=home,
    )


def check_run_folder(run: Path) -> None:
    """Raise BadConfig when a socket in the folder `run` could not be named."""
    length = len(os.fsencode(run))
    if length > MAX_RUN_BYTES:
        raise BadConfig(
            f"run is {run}, which has {length} bytes and may have {MAX_RUN_BYTES}: a Unix socket's path ends at 107, "
            f"and /<model>.sock comes behind it. Choose a shorter folder, such as /run/edgefleet; see {PAGE}"
        )


def _check_keys(data: dict[str, Any], kind: type[msgspec.Struct], section: str) -> None:
    """Raise BadConfig for a key that is not known, and for one that is lacking."""
    fields = {row.name: row for row in msgspec.structs.fields(kind)}
    where = f"[{section}]" if section else "the file"
    for key, value in data.items():
        name = f"{section}.{key}" if section else key
        if key not in fields:
            import difflib  # only for an error: the agent that runs need not hold it

            close = difflib.get_close_matches(key, fields, 1)
            hint = f"; is {close[0]} meant?" if close else ";"
            raise BadConfig(f"{name} is no key that the agent knows{hint} {where} takes {', '.join(fields)}")
        inner = fields[key].type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, dict):
            _check_keys(value, inner, name)


def _check_lacking(lacking: list[str]) -> None:
    if lacking:
        examples = ", ".join(f'{name} = "{EXAMPLES.get(name, "…")}"' for name in lacking)
        raise BadConfig(
            f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing; write, say, {examples}, or "
            "enrol this device: edgefleet agent enrol URL"
        )


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError("Expected `path`, got something else")
