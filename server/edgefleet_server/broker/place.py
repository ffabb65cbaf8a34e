"""Putting a broker's files where it reads them."""

import os
from pathlib import Path

from edgefleet_protocol.topics import Topics

from ..errors import BadConfig
from . import mosquitto
from .mosquitto import ACCESS, CONFIGURATION, DYNAMIC_SECURITY, Settings

PLUGIN_NAME = "mosquitto_dynamic_security.so"
PLUGIN_FOLDERS = ("/usr/lib/*-linux-gnu*", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def find_plugin() -> Path:
    """Return where this machine's Mosquitto has its dynamic-security plugin; raise BadConfig when it is nowhere usual."""
    for pattern in PLUGIN_FOLDERS:
        for path in sorted(Path("/").glob(f"{pattern[1:]}/{PLUGIN_NAME}")):
            return path
    raise BadConfig(
        f"{PLUGIN_NAME} is in none of {', '.join(PLUGIN_FOLDERS)}: it comes with Mosquitto 2.0 and later. Install Mosquitto, "
        "or name the file as it lies on the broker's machine with --plugin"
    )


def write_configuration(settings: Settings, topics: Topics) -> tuple[Path, ...]:
    """Write the three files; return their paths. The plugin's own file is left alone where it is there already."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    files = {CONFIGURATION: mosquitto.configuration(settings), ACCESS: mosquitto.access(topics)}
    if not (settings.folder / DYNAMIC_SECURITY).exists():
        files[DYNAMIC_SECURITY] = mosquitto.dynamic_security()
    for name, text in files.items():
        replace_file(settings.folder / name, text.encode(), 0o640)
    return tuple(settings.folder / name for name in (CONFIGURATION, ACCESS, DYNAMIC_SECURITY))


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Put `data` at `path` at once: whoever reads there sees the old or the new, also after a power cut."""
    new = path.with_name(f".{path.name}.new")
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(number, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
