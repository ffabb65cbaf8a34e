"""Time zones, from the system's own table: the one place that reads it."""

from datetime import datetime, tzinfo
from functools import lru_cache


@lru_cache(maxsize=16)
def zone_of(name: str | None) -> tzinfo | None:
    """Return the zone called `name`, or the device's own for None; None when this system does not know it."""
    if name is None:
        return _here()
    from zoneinfo import ZoneInfo  # only where a policy names a zone

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # no such zone, no table of zones, or no name for one
        return None


def _here() -> tzinfo | None:
    """Return the device's own zone with its changes of the clock where its file can be read, else today's offset."""
    from zoneinfo import ZoneInfo

    try:
        with open("/etc/localtime", "rb") as file:  # noqa: PTH123 - a pathlib handle says the same
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return datetime.now().astimezone().tzinfo
