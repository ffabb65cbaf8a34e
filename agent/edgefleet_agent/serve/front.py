"""What all models of a device share towards their clients: the gateway, and the regions of shared memory."""

import os
from pathlib import Path

import msgspec

from edgefleet_protocol.names import parse_release_name

from ..seams import WorkerSpec
from .gateway import Gateway
from .kept import Kept
from .messages import Order
from .sockets import Access, Port

PORT_FILE = "port"
"""In the run folder, beside `<model>.port`: the port of the gateway."""


class Front:
    """Made once; outlives every worker."""

    def __init__(self, run_folder: Path, access: Access, kept: Kept | None = None) -> None:
        """Bind the gateway's port, where loopback is allowed; raise CannotBind when there is none."""
        self._access = access
        self._serving: dict[str, int] = {}
        self._port: Port | None = None
        self._gateway: Gateway | None = None
        self._regions: int | None = None
        if access.loopback:
            run_folder.mkdir(parents=True, exist_ok=True)
            self._port = Port(run_folder / PORT_FILE, access.gateway_port, kept)
            self._gateway = Gateway(self._port.sock, shared_memory=access.shared_memory)
        if access.shared_memory:
            self._regions = os.memfd_create("regions")

    @property
    def port(self) -> int:
        """The gateway's port; 0 where there is none."""
        return self._port.number if self._port else 0

    def add(self, model: str) -> None:
        """Know a model."""
        if self._gateway is not None:
            self._gateway.add(model)

    def complete(self, order: Order) -> Order:
        """Return `order` with what its worker inherits and must know of all this."""
        handoff, back = self._gateway.descriptors(order.spec.model) if self._gateway else (None, None)
        return msgspec.structs.replace(
            order,
            handoff=handoff,
            back=back,
            regions=self._regions,
            allow_uids=self._access.allow_uids,
            allow_gids=self._access.allow_gids,
        )

    def serves(self, spec: WorkerSpec, pid: int) -> None:
        """The worker `pid` takes the connections of its model."""
        self._serving[spec.model] = pid
        if self._gateway is not None:
            self._gateway.serves(spec.model, str(parse_release_name(spec.release)[1]))

    def died(self, spec: WorkerSpec, pid: int, reason: str) -> None:
        """The worker `pid` is gone; of interest only while no other has taken over."""
        if self._serving.get(spec.model) == pid:
            del self._serving[spec.model]
            if self._gateway is not None:
                self._gateway.died(spec.model, reason)

    def close(self) -> None:
        """End the gateway. Its port stays written down for the next start."""
        if self._gateway is not None:
            self._gateway.close()
        if self._port is not None:
            self._port.sock.close()
        if self._regions is not None:
            os.close(self._regions)
