"""Whether there is a time zone of a name, by the system's own table."""

import zoneinfo
from functools import lru_cache


@lru_cache(maxsize=256)
def is_known(name: str) -> bool:
    """Return whether `name` is a time zone; True for all names where this system has no table to look them up in."""
    try:
        zoneinfo.ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # no such zone, or a name that is a path
        return not zoneinfo.available_timezones()
    return True
