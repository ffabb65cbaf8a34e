"""`edgefleet device revoke`: who is revoked, by whom it is signed, and where it is carried out."""

import threading
from collections.abc import Callable, Sequence

from ..config import BrokerConfig
from ..errors import NotFound, Refused
from ..link.broker import Broker
from ..seams import Clock
from .crl import put_in_place
from .keeper import signed_list
from .kick import kick
from .reload import reload_broker
from .revoke import Revokes, Step, cut_off, in_words


class Revocation:
    """Cuts devices off, one at a time."""

    def __init__(
        self,
        config: BrokerConfig,
        link: Broker,
        clock: Clock,
        authority: Revokes | None = None,
        serials: Callable[[str], Sequence[int]] = lambda device: (),
    ) -> None:
        """serials: of every certificate that a device ever got and that has not run out, also those revoked already."""
        self._config, self._link, self._clock = config, link, clock
        self._authority, self._serials = authority, serials
        self._one = threading.Lock()

    def cut_off(self, device: str) -> tuple[Step, ...]:
        """Revoke every certificate of `device` and end its connection; return what became of each step.

        Raises Refused where there are no identities, NotFound for a device that never got one.
        """
        signed = signed_list(self._config)
        if self._authority is None or signed is None:
            raise Refused(
                "this server keeps no identities, so there is nothing to revoke: see edgefleet server identity init and "
                "edgefleet server broker config"
            )
        authority, serials = self._authority, tuple(self._serials(device))
        if not serials:
            raise NotFound(f"no certificate was issued for {device}. See: edgefleet device list")

        def revoke() -> str:
            for serial in serials:
                authority.revoke(serial, self._clock.now())
            return in_words(serials)

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
