"""Times as refusals say them."""

from datetime import datetime, timezone


def moment(at_s: float) -> str:
    """Return a time as `2026-11-25 14:05 UTC`."""
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d %H:%M} UTC"
