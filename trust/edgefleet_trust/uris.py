"""Keys behind a URI: in a token, a KMS or a vault. Opened by securesystemslib; the private half never comes here.

`awskms:` `gcpkms:` `azurekms:` `hv:` (HashiCorp Vault) `hsm:` (PKCS#11). Each needs its own library, and none of them was
tried here. Our encrypted files have a scheme of their own, `edgefleet:PATH`, for other software that asks for a URI.
"""

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    AWSSigner,
    AzureSigner,
    GCPSigner,
    HSMSigner,
    Key,
    Signer,
    VaultSigner,
)

from .errors import KeyProblem
from .passphrase import read_file

PIN_FILE = "EDGEFLEET_PIN_FILE"
UNENCRYPTED = ("file", "file2")


def _azure(rest: str) -> tuple[str, Key]:
    vault, _, name = rest.partition("/")
    return AzureSigner.import_(vault, name)


def _hsm(rest: str) -> tuple[str, Key]:
    return HSMSigner.import_(int(rest) if rest else None)


IMPORTS: dict[str, Callable[[str], tuple[str, Key]]] = {
    "awskms": AWSSigner.import_,
    "gcpkms": GCPSigner.import_,
    "azurekms": _azure,
    "hv": VaultSigner.import_,
    "hsm": _hsm,
}
"""By scheme: what comes after the colon -> the URI to keep, and the public key. Each asks its service."""


def import_uri(uri: str) -> tuple[str, Key]:
    """Return the URI to keep and the public half of the key that `uri` names; raise KeyProblem where that fails."""
    scheme, _, rest = uri.partition(":")
    if scheme in UNENCRYPTED:
        raise KeyProblem(
            f"{uri}: a key file without a passphrase is not used; `edgefleet trust key new` makes one with"
        )
    if scheme not in IMPORTS:
        raise KeyProblem(f"{uri}: the scheme must be one of {', '.join(sorted(IMPORTS))}")
    kept, public = _guarded(uri, lambda: IMPORTS[scheme](rest))
    return str(kept), public


def open_uri(uri: str, public: Key) -> Signer:
    """Return the signer behind `uri`; raise KeyProblem where it cannot be reached."""
    if uri.partition(":")[0] in UNENCRYPTED:
        raise KeyProblem(f"{uri}: a key file without a passphrase is not used")
    signer: Signer = _guarded(uri, lambda: Signer.from_priv_key_uri(uri, public, _ask))
    return signer


def register_files(open_file: Callable[[str], Signer]) -> None:
    """Teach securesystemslib the scheme `edgefleet:PATH` of our encrypted key files."""

    class FileSigner(Signer):
        @classmethod
        def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> Signer:
            signer = open_file(priv_key_uri.partition(":")[2])
            if signer.public_key.keyid != public_key.keyid:
                raise ValueError(f"{priv_key_uri} holds {signer.public_key.keyid[:8]}, not {public_key.keyid[:8]}")
            return signer

    SIGNER_FOR_URI_SCHEME["edgefleet"] = FileSigner


def _ask(secret: str) -> str:
    path = os.environ.get(PIN_FILE)
    if path:
        return read_file(PIN_FILE, Path(path)).decode()
    return getpass.getpass(f"{secret}: ")


def _guarded(uri: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except KeyProblem:
        raise
    except Exception as error:  # each service has errors of its own, and a missing library is one of them
        raise KeyProblem(
            f"the key {uri} cannot be used: {type(error).__name__}: {error}. See docs/guides/keys.md"
        ) from error
