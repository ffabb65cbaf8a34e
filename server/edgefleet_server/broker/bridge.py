"""A region's own broker that passes on what the fleet's broker says, and takes back what its devices say. Pure.

The region's broker is made by `edgefleet server broker config` as any other; these lines go below its configuration. Tried with
Mosquitto 2.0.11 at both ends.
"""

from dataclasses import dataclass
from pathlib import Path

from edgefleet_protocol.topics import Topics


@dataclass(frozen=True)
class Upstream:
    """Where the fleet's broker is, and who the region's broker is there: a certificate named `hub-bridge-…`."""

    name: str
    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path


def bridge(topics: Topics, upstream: Upstream) -> str:
    """Return the lines for the region's broker."""
    lines = [
        "",
        "# To the fleet's broker: what the server says comes down, what devices say goes up.",
        f"connection {upstream.name}",
        f"address {upstream.host}:{upstream.port}",
        f"bridge_cafile {upstream.ca}",
        f"bridge_certfile {upstream.certificate}",
        f"bridge_keyfile {upstream.key}",
        "bridge_tls_version tlsv1.2",
        "bridge_protocol_version mqttv311",
        "cleansession false",
        "notifications false",
        "try_private true",
        "restart_timeout 1 60",
    ]
    for right in topics.rights_of_bridge():
        way = "in" if right.access == "read" else "out"
        # Chunks are checked by their hash and asked for again; with QoS 1 the queue of a region that was away would hold them all.
        qos = 0 if "/chunk/" in right.filter else 1
        lines.append(f"topic {right.filter} {way} {qos}")
    return "\n".join(lines) + "\n"
