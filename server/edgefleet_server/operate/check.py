"""Looks whether a server can work here: one line a thing, with what to do next."""

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from edgefleet_trust.errors import TrustError
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.repository import Repository
from edgefleet_trust.status import read_status

from ..alerts.gather import read_expiries
from ..config import ServerConfig
from ..errors import BadConfig, ServerError
from ..identity.passphrase import has_ca_passphrase
from ..signer import online_passphrase
from ..store import copying, rollups_aside
from ..store.database import held, look_at, shown

State = Literal["ok", "warning", "failed"]
DAY_S = 86400.0
SOON_DAYS, NOW_DAYS = 30.0, 2.0
LITTLE_BYTES, TOO_LITTLE_BYTES = 5_000_000_000, 200_000_000
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Row:
    """One thing that was looked at."""

    name: str
    state: State
    text: str
    next_step: str = ""


def check(config: ServerConfig) -> tuple[Row, ...]:
    """Return a row for each thing; a fault of one keeps no other from being looked at."""
    rows: list[Row] = []
    for name, look in LOOKS.items():
        try:
            rows += look(config)
        except (ServerError, TrustError, OSError, ValueError) as error:
            rows.append(Row(name, "failed", str(error)))
    return tuple(rows)


def _folders(config: ServerConfig) -> Iterator[Row]:
    for name, folder in (("data", config.data), ("repository", config.repository), ("keys", config.keys)):
        if name == "data" and isinstance(config.place, str) and not folder.exists():
            continue  # with PostgreSQL nothing is kept in it
        if not folder.is_dir():
            step = "edgefleet server init" if name == "data" else "edgefleet trust init"
            yield Row(f"folder {name}", "failed", f"{folder} is not there", f"Make it: {step}")
        else:
            yield Row(f"folder {name}", "ok", str(folder))


def _database(config: ServerConfig) -> Iterator[Row]:
    if isinstance(config.place, str):
        yield from _postgresql(config.place)
        return
    path = config.place
    if not path.is_file():
        yield Row("database", "warning", "there is none yet", "It is made at the server's first start.")
        return
    who = "a server has it" if held(path) else "no server has it now"
    if problems := copying.faults(path):
        step = "Stop the server, keep the file, and bring the last backup back: edgefleet server restore"
        yield Row("database", "failed", f"{path}: {problems[0]}", step)
        return
    form = copying.form(path)
    if form not in copying.own_forms():
        step = "Install that version again: an older one cannot read it."
        yield Row("database", "failed", f"its form is {form}, of a newer version than this one", step)
    else:
        yield Row("database", "ok", f"whole, form {form}, {path.stat().st_size / 1e6:.0f} MB, {who}")
        if form == copying.own_forms()[0]:
            yield from unreadable_rollups(path)


def _postgresql(place: str) -> Iterator[Row]:
    try:
        seen = look_at(place)
    except ServerError as error:
        yield Row("database", "failed", str(error), "Start PostgreSQL, or correct [database] in server.toml.")
        return
    if seen.form is None:
        yield Row("database", "warning", f"{shown(place)} is empty", "Its tables are made at the server's first start.")
    elif seen.form not in copying.own_forms():
        step = "Install that version again: an older one cannot read it."
        yield Row("database", "failed", f"its form is {seen.form}, of a newer version than this one", step)
    else:
        who = "a server has it" if held(place) else "no server has it now"
        size = f"{seen.bytes / 1e6:.0f} MB, {seen.days} days of telemetry"
        yield Row("database", "ok", f"{shown(place)}: {seen.version}, form {seen.form}, {size}, {who}")
        if seen.form == copying.own_forms()[0]:
            yield from unreadable_rollups(place)


def unreadable_rollups(place: Path | str) -> Iterator[Row]:
    """Yield a row when telemetry was put aside because it could not be read; none otherwise."""
    aside = rollups_aside.look_at(place)
    if aside.batches or aside.rows:
        yield Row(
            "roll-ups",
            "warning",
            f"{aside.batches} batches of windows and {aside.rows} rows could not be read and lie apart, in no sum: {aside.why}",
            "Look for a fault of the disk. Batches are tried again at each start, and go when their windows do.",
        )


def _keep(config: ServerConfig) -> Iterator[Row]:
    """What server.toml allows; a region's version may say less, and is asked for with `edgefleet region show`."""
    own = sorted((name, row.windows_days) for name, row in config.region_keeps.items() if row.windows_days is not None)
    said = "".join(f", of {name} {days:g}" for name, days in own)
    text = f"windows of {config.keep.windows_days:g} days at most{said}; a region's version may say less (edgefleet region show)"
    yield Row("keep", "ok", text)


def _disk(config: ServerConfig) -> Iterator[Row]:
    folder = next(path for path in (config.data, *config.data.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    state: State = "failed" if free < TOO_LITTLE_BYTES else "warning" if free < LITTLE_BYTES else "ok"
    step = "" if state == "ok" else "Free some, or keep less: keep.windows_days in server.toml."
    yield Row("disk", state, f"{free / 1e9:.1f} GB free for {config.data}", step)


def _broker(config: ServerConfig) -> Iterator[Row]:
    broker = config.broker
    where = f"{broker.host}:{broker.port}"
    try:
        with socket.create_connection((broker.host, broker.port), TIMEOUT_S) as plain:
            if broker.ca is not None:
                context = ssl.create_default_context(cafile=str(broker.ca))
                if broker.certificate is not None:
                    context.load_cert_chain(broker.certificate, broker.key)
                with context.wrap_socket(plain, server_hostname=broker.host):
                    pass
    except ssl.SSLError as error:
        yield Row("broker", "failed", f"{where}: {error}", "See its certificate: edgefleet server identity status")
    except OSError as error:
        yield Row(
            "broker", "failed", f"{where}: {error}", "Start it; its configuration: edgefleet server broker config"
        )
    else:
        said = "answers with TLS" if broker.ca is not None else "answers, without TLS"
        yield Row("broker", "ok" if broker.ca is not None else "warning", f"{where} {said}")


def _keys(config: ServerConfig) -> Iterator[Row]:
    try:
        secret = online_passphrase()
    except BadConfig as error:
        yield Row("online keys", "warning", f"not tried: {error}")
        return
    OnlineKeys.load(config.keys, secret)
    yield Row("online keys", "ok", "they open with the passphrase that was given")


def _trust(config: ServerConfig) -> Iterator[Row]:
    status = read_status(Repository(config.repository), datetime.fromtimestamp(time.time(), UTC))
    for warning in status.warnings:
        yield Row("trust", "warning", warning)
    if not status.warnings:
        yield Row(
            "trust", "ok", f"fleet {status.fleet}, {len(status.regions)} regions, {len(status.releases)} releases"
        )


def _documents(config: ServerConfig) -> Iterator[Row]:
    identity = config.identity.folder if config.identity else None
    now = time.time()
    for row in read_expiries(Repository(config.repository), identity, now):
        days = (row.ends_s - now) / DAY_S
        state: State = "failed" if days < NOW_DAYS else "warning" if days < SOON_DAYS else "ok"
        yield Row("documents", state, f"{row.name}: {days:.0f} days left", "" if state == "ok" else row.next_step)
    if identity is None:
        yield Row("identity", "warning", "there is no [identity]: devices are not told apart by certificates")
    elif not has_ca_passphrase():
        yield Row(
            "identity",
            "warning",
            "the authority's passphrase was not given here: nobody is let in or revoked without it",
        )


def _clock(config: ServerConfig) -> Iterator[Row]:
    now = datetime.now(UTC)
    if now.year < 2025:
        yield Row("clock", "failed", f"this machine's clock says {now:%Y-%m-%d}", "Set it, and have NTP keep it.")
    elif Path("/run/systemd/timesync/synchronized").exists():
        yield Row("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC, kept by timesyncd")
    else:
        yield Row("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC; who keeps it is not known here")


LOOKS: dict[str, Callable[[ServerConfig], Iterator[Row]]] = {
    "folders": _folders,
    "database": _database,
    "keep": _keep,
    "disk": _disk,
    "broker": _broker,
    "online keys": _keys,
    "trust": _trust,
    "documents": _documents,
    "clock": _clock,
}
