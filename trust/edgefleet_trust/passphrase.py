"""Passphrases: from a file that an environment variable or systemd names, or from a prompt. Never an argument, which `ps` shows."""

import getpass
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from .errors import KeyProblem, NotThere

OFFLINE = "EDGEFLEET_PASSPHRASE_FILE"
ONLINE = "EDGEFLEET_ONLINE_PASSPHRASE_FILE"
CREDENTIAL = "edgefleet-online-passphrase"
"""Of a service that has `LoadCredential=edgefleet-online-passphrase:FILE`."""
_PROMPTS = {OFFLINE: "offline keys", ONLINE: "online keys"}


class Passphrase:
    """A passphrase, and the keys derived from it: keys made in one ceremony share a salt, so scrypt runs once."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise KeyProblem("the passphrase is empty: choose one of four or more words")
        self._secret = secret
        self._derived: dict[tuple[bytes, int], bytes] = {}

    @property
    def secret(self) -> bytes:
        """The words themselves, for keys that other software opens with them."""
        return self._secret

    def derive(self, salt: bytes, n: int) -> bytes:
        """Return the 32-byte key for `salt` at the cost `n` (scrypt, r=8, p=1: n × 1 KiB of memory)."""
        if (salt, n) not in self._derived:
            self._derived[salt, n] = Scrypt(salt=salt, length=32, n=n, r=8, p=1).derive(self.secret)
        return self._derived[salt, n]


class AskedPassphrase(Passphrase):
    """A passphrase that is asked for when the first key needs it: a holder with a token types none."""

    def __init__(self, variable: str, *, twice: bool = False) -> None:
        super().__init__(b"-")
        self._variable, self._twice = variable, twice
        self._asked: bytes | None = None

    @property
    def secret(self) -> bytes:
        """The words, read or asked for once."""
        if self._asked is None:
            self._asked = passphrase(self._variable, os.environ, twice=self._twice).secret
        return self._asked


def passphrase_file(variable: str, environment: Mapping[str, str]) -> Path | None:
    """Return where the passphrase lies: the file that `variable` names, or systemd's credential of that name.

    The online keys fall back to the file of the offline ones. `/dev/fd/3` names a descriptor.
    """
    if path := environment.get(variable):
        return Path(path)
    if variable == ONLINE and (folder := environment.get("CREDENTIALS_DIRECTORY")):
        credential = Path(folder) / CREDENTIAL
        if credential.is_file():
            return credential
    if variable == ONLINE and (path := environment.get(OFFLINE)):
        return Path(path)
    return None


def passphrase(variable: str, environment: Mapping[str, str], *, twice: bool = False) -> Passphrase:
    """Return the passphrase of the file that `variable` names, else the answer to a prompt.

    The online keys fall back to the file of the offline ones. twice: for new keys, to catch a slip.
    """
    path = passphrase_file(variable, environment)
    if path is not None:
        return Passphrase(read_file(variable, path))
    if not sys.stdin.isatty():
        raise KeyProblem(f"no passphrase: set {variable} to the path of a file with it, or run this in a terminal")
    secret = getpass.getpass(f"Passphrase of the {_PROMPTS[variable]}: ")
    if twice and secret != getpass.getpass("The same once more: "):
        raise KeyProblem("the two passphrases differ: start again")
    return Passphrase(secret.encode())


def read_file(variable: str, path: Path) -> bytes:
    """Return the passphrase in the file at `path`, which `variable` names.

    Raises NotThere for one that cannot be read, KeyProblem for one that others than its owner can read.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyProblem(
                    f"{path}, which {variable} names, has mode {mode:04o}, so others may read the passphrase: "
                    f"chmod 600 {path}"
                )
            return file.read().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise NotThere(f"{variable} names {path}, which cannot be read: {error.strerror}") from error


def from_environment(variable: str, *, twice: bool = False) -> Passphrase:
    """Return the passphrase as `passphrase` does, by this process's environment."""
    return passphrase(variable, os.environ, twice=twice)
