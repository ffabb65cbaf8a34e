"""Which topics a process reads.

Telemetry comes by a shared subscription, `$share/ingest/…`: of all processes that have it, each message goes to one. A broker that
knows no such thing, as iotcore, gets a plain one; then there can be one process only.
"""

from edgefleet_protocol.topics import Kind, Topics

from ..config import ServerConfig
from ..link.broker import shared

GROUP = "ingest"
SPOKEN: tuple[Kind, ...] = ("state", "presence", "event", "need", "reply")
"""What a device says of itself: the server's alone, for it answers."""


def subscriptions(topics: Topics, config: ServerConfig) -> tuple[list[str], list[str]]:
    """Return the server's filters, and those that it had before a change of the configuration and has to leave."""
    plain = topics.all_devices("telemetry")
    forms = {True: shared(GROUP, plain), False: plain}
    mine = is_shared(config)
    return [*(topics.all_devices(kind) for kind in SPOKEN), forms[mine]], [forms[not mine]]


def quiet(topics: Topics, config: ServerConfig) -> list[str]:
    """Return the filters for which the broker need not send what it retains all at once: `reading_back` asks for it."""
    return [topics.all_devices("state")] if is_shared(config) else []


def of_helper(topics: Topics) -> list[str]:
    """Return the filters of a process that takes telemetry beside the server."""
    return [shared(GROUP, topics.all_devices("telemetry"))]


def is_shared(config: ServerConfig) -> bool:
    """Whether telemetry comes by a shared subscription. An open broker may be of any kind, and has one process."""
    return not config.broker.open if config.ingest.shared is None else config.ingest.shared
