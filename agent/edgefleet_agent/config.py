"""`agent.toml`: what the owner of a device says about it. A key that is not known is refused by name."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from .errors import BadConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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


class Serve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models are served."""

    port_base: int = 0
    """The first model's loopback port, the next one's is one higher; 0: any free port."""
    threads: int = 1
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


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. Relative paths are relative to it."""

    fleet: str
    device: str
    root: Path
    """The pinned root of trust, `1.root.json`."""
    state: Path = Path("state")
    run: Path = Path("run")
    broker: Broker = Broker()
    hardware: HardwareRoots = HardwareRoots()
    serve: Serve = Serve()
    fetch: Fetch = Fetch()
    limits: Limits = Limits()


@dataclass(frozen=True)
class _Paths:
    base: Path

    def of(self, path: Path) -> Path:
        return path if path.is_absolute() else self.base / path


def load(path: Path) -> Config:
    """Return the configuration in the TOML file at `path`; raise BadConfig, naming what is wrong with it."""
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not TOML: {error}") from error
    return from_dict(data, path.parent)


def from_dict(data: dict[str, Any], base: Path) -> Config:
    """Return the configuration in `data`; paths are relative to `base`."""
    try:
        config = msgspec.convert(data, Config, dec_hook=_path)
        check_label("fleet", config.fleet)
        check_label("device", config.device)
    except (msgspec.ValidationError, BadName) as error:
        raise BadConfig(f"the configuration says something that the agent does not know: {error}") from error
    if config.broker.keepalive_s < 60:
        raise BadConfig(f"broker.keepalive_s is {config.broker.keepalive_s}; a slow link needs at least 60")
    if config.fetch.patience_s < 1:
        raise BadConfig(f"fetch.patience_s is {config.fetch.patience_s:g}; a bad mobile link needs at least 1")
    if (config.broker.certificate is None) != (config.broker.key is None):
        raise BadConfig("broker.certificate and broker.key belong together; one of them is missing")
    paths = _Paths(base)
    broker = msgspec.structs.replace(
        config.broker,
        ca=paths.of(config.broker.ca) if config.broker.ca else None,
        certificate=paths.of(config.broker.certificate) if config.broker.certificate else None,
        key=paths.of(config.broker.key) if config.broker.key else None,
    )
    hardware = msgspec.structs.replace(config.hardware, root=paths.of(config.hardware.root))
    return msgspec.structs.replace(
        config,
        root=paths.of(config.root),
        state=paths.of(config.state),
        run=paths.of(config.run),
        broker=broker,
        hardware=hardware,
    )


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind} is not expected")
