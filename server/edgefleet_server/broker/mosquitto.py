"""Mosquitto's configuration for a fleet with identities. Pure. Tried with 2.0.11.

Three files: `mosquitto.conf`, `acl` (from the protocol's table), and `dynamic-security.json`, with which the server can end the
connection of a client whose certificate it revoked. The plugin knows no clients and decides nothing: it hands every question on
to the access list.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from edgefleet_protocol.topics import HUB, Topics

from . import limits

CONTROL_TOPIC = "$CONTROL/dynamic-security/v1"
CONTROL_ANSWER = f"{CONTROL_TOPIC}/response"
CONFIGURATION, ACCESS, DYNAMIC_SECURITY = "mosquitto.conf", "acl", "dynamic-security.json"


@dataclass(frozen=True)
class Settings:
    """What differs from one broker to the next. Paths are absolute: Mosquitto reads them after it left its folder."""

    folder: Path
    """Where the three files lie."""
    pki: Path
    """Where Mosquitto reads `ca.pem`, `crl.pem`, `server.pem` and `server.key`."""
    store: Path
    """Where it keeps its memory over a restart; its user must be able to write there."""
    plugin: Path
    port: int = 8883
    listen: str | None = None
    """None: every address of the machine."""
    user: str | None = None
    """Whom Mosquitto becomes when root starts it; None: `mosquitto`."""
    persistence: bool = True
    retained_budget_bytes: int = 200_000_000
    bridges: tuple[str, ...] = ()
    """Names of regions' brokers that may pass on what is said here."""
    helpers: tuple[str, ...] = ()
    """Names of processes that take telemetry beside the server."""


def configuration(settings: Settings) -> str:
    """Return `mosquitto.conf`."""
    memory = settings.retained_budget_bytes + limits.MEMORY_BESIDE_RETAINED_BYTES
    lines = [
        "# Made by `edgefleet server broker config`: change server.toml and make it again, rather than this file.",
        "per_listener_settings false",
        "",
        "# The only door: TLS, and a certificate of the fleet's own authority that was not revoked.",
        f"listener {settings.port}" + (f" {settings.listen}" if settings.listen else ""),
        "protocol mqtt",
        f"cafile {settings.pki / 'ca.pem'}",
        f"certfile {settings.pki / 'server.pem'}",
        f"keyfile {settings.pki / 'server.key'}",
        f"crlfile {settings.pki / 'crl.pem'}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "allow_anonymous false",
        "# The name in the certificate is the client's name and its client id: what a client says of itself counts for nothing,",
        "# and a certificate has one connection.",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "",
        "# Who may read and write what.",
        f"acl_file {settings.folder / ACCESS}",
        "# With which the server ends a connection; it decides nothing else.",
        f"plugin {settings.plugin}",
        f"plugin_opt_config_file {settings.folder / DYNAMIC_SECURITY}",
        "",
        "# What one client may cost the others.",
        *limits.lines(),
        f"max_keepalive {limits.MAX_KEEPALIVE_S}",
        f"persistent_client_expiration {limits.SESSION_KEPT}",
        f"memory_limit {memory}",
        "set_tcp_nodelay true",
        "",
        "# Its memory over a restart.",
        f"persistence {'true' if settings.persistence else 'false'}",
    ]
    if settings.persistence:
        lines += [f"persistence_location {settings.store}/", f"autosave_interval {limits.AUTOSAVE_S}"]
    lines += ["", "log_type error", "log_type warning", "log_type notice", "connection_messages true"]
    if settings.user:
        lines.append(f"user {settings.user}")
    return "\n".join(lines) + "\n"


def access(topics: Topics, bridges: tuple[str, ...] = (), helpers: tuple[str, ...] = ()) -> str:
    """Return the access list: the protocol's, and the server's right to end a connection."""
    return topics.acl(bridges=bridges, helpers=helpers) + "\n".join(
        (
            "# The server may end the connection of a client whose certificate it revoked.",
            f"user {HUB}",
            f"topic write {CONTROL_TOPIC}",
            f"topic read {CONTROL_ANSWER}",
            "",
        )
    )


def dynamic_security() -> str:
    """Return what the plugin starts with: nobody, and no right by default, so that each question goes to the access list."""
    nothing = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False)
    document = {"defaultACLAccess": nothing, "clients": [], "groups": [], "roles": []}
    return json.dumps(document, indent=1) + "\n"
