"""What one client may cost the broker. Measured with Mosquitto 2.0.11; used for every broker that we configure."""

MAX_PACKET_BYTES = 300_000
"""A payload of 60 KiB with its topic fits; a longer packet is nobody's honest work."""
MAX_QUEUED_BYTES = 4_000_000
"""A client that subscribes to every chunk and does not read would else cost the whole retained store."""
MAX_QUEUED_MESSAGES = 1_000_000
"""In effect none: a limit by count drops silently, and what a device lacks would then look as if it did not exist. It is not 0,
Mosquitto's word for none, because 2.0.11 then also ends the connection of whoever publishes what it may not (it compares the
packets that wait, often 0, with it)."""
MAX_INFLIGHT_MESSAGES = 1000
"""Unacknowledged, to one client. The server acknowledges telemetry only when it is committed, so this is also the most that it can
commit at once; what a client may cost is bounded in bytes, above."""
MAX_KEEPALIVE_S = 600
"""A client that is gone without a word is noticed after one and a half times this."""
SESSION_KEPT = "14d"
"""A client that is gone for longer starts afresh; the agent then asserts its state anew."""
AUTOSAVE_S = 1800
"""Each save stops the broker for a while, 1.2 s with 100 MB; the server seeds a broker that lost its store."""
MEMORY_BESIDE_RETAINED_BYTES = 800_000_000
"""For sessions and queues: 200 clients that do not read, beside 0.96 bytes of memory for each byte that is retained."""


def lines() -> tuple[str, ...]:
    """Return what every broker of ours is told about one client's size, in Mosquitto's words."""
    return (
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"max_queued_bytes {MAX_QUEUED_BYTES}",
        f"max_queued_messages {MAX_QUEUED_MESSAGES}",
        f"max_inflight_messages {MAX_INFLIGHT_MESSAGES}",
    )
