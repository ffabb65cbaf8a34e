"""Whether the configured way to the broker may carry a fleet. Pure."""

import ipaddress

from ..config import BrokerConfig
from ..errors import BadConfig


def check(config: BrokerConfig) -> None:
    """Raise BadConfig unless the link is TLS with a certificate, or open on this machine and said to be so."""
    given = [name for name in ("ca", "certificate", "key") if getattr(config, name) is not None]
    if given and len(given) < 3:
        missing = ({"ca", "certificate", "key"} - set(given)).pop()
        raise BadConfig(
            f"broker.{missing} is missing: broker.ca, broker.certificate and broker.key belong together, as in "
            "ca = 'identity/ca.pem', certificate = 'identity/hub.pem', key = 'identity/hub.key'"
        )
    if (config.probe_certificate is None) != (config.probe_key is None):
        raise BadConfig("broker.probe_certificate and broker.probe_key belong together")
    if config.reload and config.pid_file is not None:
        raise BadConfig("broker.reload and broker.pid_file say the same thing twice: keep one")
    if given:
        if config.open:
            raise BadConfig("broker.open is true and broker.ca is set: a broker is open, or it asks for certificates")
        return
    if not config.open:
        raise BadConfig(
            f"the broker at {config.host}:{config.port} asks for no certificate, so whoever reaches it could read and overwrite "
            "what devices say. Make one with edgefleet server broker config, and name broker.ca, broker.certificate and "
            "broker.key. For a demo on this machine alone write open = true below [broker]"
        )
    if not _loopback(config.host):
        raise BadConfig(
            f"broker.open is true and broker.host is {config.host}, which other machines reach too: an open broker is for "
            "127.0.0.1, ::1 or localhost. Name broker.ca, broker.certificate and broker.key"
        )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
