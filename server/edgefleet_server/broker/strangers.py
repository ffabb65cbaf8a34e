"""Whether a broker lets strangers in, tried from outside rather than believed of its configuration."""

from edgefleet_protocol.topics import Topics

from ..config import BrokerConfig
from ..link.stranger import Tried, try_as
from ..link.tls import Tls


def forbidden(topics: Topics) -> tuple[str, ...]:
    """Topics that only the server may write, of names that nothing has, so that a trial does no harm where it works."""
    return (topics.trust("1.hub-probe.json"), topics.chunk("0" * 64), topics.of_device("hub-probed", "state"))


def look(config: BrokerConfig, topics: Topics) -> str | None:
    """Return why this broker must not carry a fleet, or None. An open one on loopback is not judged.

    Raises ConnectionError when it cannot be judged now: a broker that is away may come back as another one a moment later.
    """
    if config.ca is None:
        return None
    writes = forbidden(topics)
    nobody = try_as(config.host, config.port, Tls(config.ca), writes)
    if not nobody.reached:
        raise ConnectionError(nobody.why)
    device = None
    if config.probe_certificate is not None:
        tls = Tls(config.ca, config.probe_certificate, config.probe_key)
        device = try_as(config.host, config.port, tls, writes)
        if not device.reached:
            raise ConnectionError(device.why)
    return judge(f"{config.host}:{config.port}", nobody, device)


def judge(where: str, nobody: Tried, device: Tried | None) -> str | None:
    """Return why a broker at `where` that treats strangers so must not carry a fleet, or None. Pure."""
    again = "Make its configuration with edgefleet server broker config, restart it, and start this server again"
    if nobody.let_in:
        return (
            f"the broker at {where} lets in whoever has no certificate, so anybody could speak for any device. {again}"
        )
    if device is not None and device.wrote:
        return (
            f"the broker at {where} let a certificate that is not the server's write {', '.join(device.wrote)}: it has no access "
            f"list, or another fleet's. {again}"
        )
    return None
