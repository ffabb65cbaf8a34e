"""Putting a broker's files where it reads them."""

import os
import pwd
import shutil
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
    files = {
        CONFIGURATION: mosquitto.configuration(settings),
        ACCESS: mosquitto.access(topics, settings.bridges, settings.helpers),
    }
    if not (settings.folder / DYNAMIC_SECURITY).exists():
        files[DYNAMIC_SECURITY] = mosquitto.dynamic_security()
    for name, text in files.items():
        replace_file(settings.folder / name, text.encode(), 0o640)
    return tuple(settings.folder / name for name in (CONFIGURATION, ACCESS, DYNAMIC_SECURITY))


SHARED = {"ca.pem": 0o644, "crl.pem": 0o644, "server.pem": 0o644, "server.key": 0o640}
"""What the broker reads of an identity folder, and who may read it. The authority's own key never goes there."""


def copy_identity(identity: Path, folder: Path) -> tuple[Path, ...]:
    """Copy what the broker reads from the identity folder into `folder`; return the copies. Raises BadConfig when one is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, mode in SHARED.items():
        try:
            data = (identity / name).read_bytes()
        except OSError as error:
            raise BadConfig(
                f"{identity / name} cannot be read: {error.strerror}. Make the fleet's authority with edgefleet server identity "
                "init, or name its folder with --identity"
            ) from error
        replace_file(folder / name, data, mode)
    return tuple(folder / name for name in SHARED)


def hand_over(folder: Path, user: str) -> str | None:
    """Give `folder` and what is in it to the broker's user; return what a person has to do instead, or None when it is done."""
    try:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user, user)
    except (LookupError, PermissionError):
        return f"chown -R {user}: {folder}"
    return None


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Put `data` at `path` at once: whoever reads there sees the old or the new, also after a power cut."""
    new = path.with_name(f".{path.name}.new")
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(number, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def owner() -> str:
    """Return the name of the user that this process is."""
    return pwd.getpwuid(os.getuid()).pw_name
