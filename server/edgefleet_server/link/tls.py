"""The files by which the server shows the broker who it is."""

from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho


@dataclass(frozen=True)
class Tls:
    """The fleet's authority, and a certificate with its key; a stranger has none."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def apply(self, client: paho.Client) -> None:
        """Make `client` speak TLS. Raises OSError, which names the files, when one cannot be read or does not fit."""
        certificate = str(self.certificate) if self.certificate else None
        key = str(self.key) if self.key else None
        try:
            client.tls_set(str(self.ca), certificate, key)
        except (OSError, ValueError) as error:
            names = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise OSError(f"no TLS with {names}: {error}") from error
