"""Which numbers and texts of `agent.toml` make sense, beyond their types."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import BadConfig

if TYPE_CHECKING:
    from .config import Config

DAY_S = 86400
NUMBERS: tuple[tuple[str, str, float, float, str], ...] = (
    ("broker", "keepalive_s", 60, 65535, "a slow link needs at least 60, and MQTT counts to 65535"),
    ("fetch", "patience_s", 1, DAY_S, "a bad mobile link needs at least 1, and a day is too long to notice anything"),
    ("serve", "threads", 0, 1024, "0 lets the trial find out how many are good"),
    ("serve", "drain_s", 0, 3600, "10 lets a worker end what it has"),
    ("serve", "golden_deadline_s", 0.1, 3600, "30 is long enough for golden inputs on a busy board"),
    ("limits", "reserve_bytes", 0, 2**53, "50000000 leaves 50 MB of the disk to the rest of the system"),
)
"""Section, key, least, most, and what there is to say about it."""
MOST_ID = 2**32 - 2
"""Of users and groups; the next one means nobody."""


def check_bounds(config: "Config") -> None:
    """Raise BadConfig, naming the key, its value and what is allowed, for the first that makes no sense."""
    for section, key, least, most, words in NUMBERS:
        value = getattr(getattr(config, section), key)
        if math.isnan(value) or not least <= value <= most:
            raise BadConfig(f"{section}.{key} is {value:.15g} and must be from {least:g} to {most:.16g}; {words}")
    for name, host in (("broker.host", config.broker.host), ("home_assistant.host", config.home_assistant.host)):
        if not _is_host(host) and (host or name == "broker.host"):
            raise BadConfig(
                f"{name} is {host[:80]!r}, which is no host: write a name or an address, as in mq.example.org"
            )
    for key, numbers in (("serve.allow_uids", config.serve.allow_uids), ("serve.allow_gids", config.serve.allow_gids)):
        for number in numbers:
            if not 0 <= number <= MOST_ID:
                raise BadConfig(f"{key} names {number}, and ids are from 0 to {MOST_ID}; `id NAME` says which is whose")


def check_folders(**folders: Path) -> None:
    """Raise BadConfig where one of `folders`, which the agent makes itself, is a file."""
    for name, path in folders.items():
        wrong = False
        with contextlib.suppress(PermissionError):  # what cannot be looked at is told by whoever needs it
            wrong = path.is_file()
        if wrong:
            raise BadConfig(f"{name} is {path}, which is a file: name a folder; the agent makes it")


def check_texts(data: dict[str, Any]) -> None:
    """Raise BadConfig for a text that no file name, host or topic can hold."""
    for name, text in _texts("", data):
        if "\0" in text:
            raise BadConfig(f"{name} is {text[:80]!r}, and no text may hold a NUL: take it out")


def _is_host(host: str) -> bool:
    # Longer parts than 63 have no address, and the resolver says so with an exception of its own kind.
    return 0 < len(host) <= 253 and all(0 < len(part) <= 63 for part in host.rstrip(".").split("."))


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _texts(f"{name}[{place}]", inner)
