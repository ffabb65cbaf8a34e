"""`edgefleet device revoke`: who is revoked, by whom it is signed, and where it is carried out."""

import threading
from collections.abc import Sequence
from typing import Protocol

from ..config import BrokerConfig
from ..errors import NotFound, Refused
from ..link.broker import Broker
from .crl import put_in_place
from .keeper import signed_list
from .kick import kick
from .reload import reload_broker
from .revoke import Step, cut_off


class Certificates(Protocol):
    """The authority, and its memory of what it gave to whom."""

    def revoke_device(self, device: str, actor: str) -> Sequence[str]:
        """Put every certificate of `device` onto the signed list and return their serial numbers; none when it never got one.

        Doing it again changes nothing and returns the same.
        """


class Revocation:
    """Cuts devices off, one at a time. `certificates` is None where the server keeps no identities."""

    def __init__(self, config: BrokerConfig, link: Broker, certificates: Certificates | None = None) -> None:
        self._config, self._link = config, link
        self.certificates = certificates
        self._one = threading.Lock()

    def cut_off(self, device: str, actor: str) -> tuple[Step, ...]:
        """Revoke every certificate of `device` and end its connection; return what became of each step.

        Raises Refused where there are no identities, NotFound for a device that never got one.
        """
        signed = signed_list(self._config)
        certificates = self.certificates
        if certificates is None or signed is None:
            raise Refused(
                "this server keeps no identities, so there is nothing to revoke: see edgefleet server identity init and "
                "edgefleet server broker config"
            )

        def revoke() -> str:
            serials = certificates.revoke_device(device, actor)
            if not serials:
                raise NotFound(f"no certificate was ever issued for {device}. See: edgefleet device list")
            return f"revoked {len(serials)} certificate(s): {', '.join(serials)}"

        def place() -> str:
            where = self._config.crl or signed
            put_in_place(signed, where)
            return f"the list is at {where}"

        with self._one:
            return cut_off(
                device,
                revoke=revoke,
                place=place,
                reload=lambda: reload_broker(self._config),
                kick=lambda name: kick(self._link, name),
            )
