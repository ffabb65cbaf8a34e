"""Where the authority's passphrase comes from: a file that the environment names, or a systemd credential."""

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from edgefleet_trust.errors import TrustError
from edgefleet_trust.passphrase import Passphrase, read_file

from ..errors import BadConfig

VARIABLE = "EDGEFLEET_CA_PASSPHRASE_FILE"
CREDENTIAL = "ca-passphrase"
"""LoadCredential=ca-passphrase:… of the service's unit; systemd names its folder in CREDENTIALS_DIRECTORY."""


def ca_passphrase(environment: Mapping[str, str] = os.environ) -> Passphrase:
    """Return the passphrase of the authority's key; raise BadConfig, saying where it may lie."""
    try:
        if named := environment.get(VARIABLE):
            return Passphrase(read_file(VARIABLE, Path(named)))
        if folder := environment.get("CREDENTIALS_DIRECTORY"):
            given = Path(folder) / CREDENTIAL
            if given.is_file():  # systemd has seen to who may read it
                return Passphrase(given.read_bytes().removesuffix(b"\n").removesuffix(b"\r"))
    except (TrustError, OSError) as error:
        raise BadConfig(f"the authority's passphrase: {error}") from error
    raise BadConfig(
        f"the authority's key is locked: set {VARIABLE} to the path of a file with its passphrase, or give the service "
        f"the systemd credential {CREDENTIAL}"
    )


def has_ca_passphrase(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process was given the passphrase; one that was not cannot revoke or let anybody in."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    return bool(environment.get(VARIABLE)) or (folder is not None and (Path(folder) / CREDENTIAL).is_file())


def new_passphrase(environment: Mapping[str, str] = os.environ) -> Passphrase:
    """Return the passphrase for a new authority: as the server will read it, else one that is asked for twice."""
    if environment.get(VARIABLE) or environment.get("CREDENTIALS_DIRECTORY") or not sys.stdin.isatty():
        return ca_passphrase(environment)
    secret = getpass.getpass("A passphrase for the authority's key: ")
    if secret != getpass.getpass("The same once more: "):
        raise BadConfig("the two passphrases differ: start again")
    try:
        return Passphrase(secret.encode())
    except TrustError as error:
        raise BadConfig(str(error)) from error
