"""Since when a device could have verified something newer than it says. Pure.

A broker that withholds or replays cannot forge, but it can freeze a device in the past. The device signs which version of the
timestamp it has verified, so the server sees it.
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgefleet_protocol.trust import ISSUED_FIELD


@dataclass(frozen=True)
class Published:
    """Versions of the timestamp with the moment from which each was out, oldest first."""

    rows: tuple[tuple[int, float], ...] = ()

    def with_version(self, version: int, out_s: float) -> "Published":
        """Return it with one more version; 256 are kept."""
        if self.rows and version <= self.rows[-1][0]:
            return self
        return Published((*self.rows, (version, out_s))[-256:])

    def behind_s(self, said: int, now: float) -> float | None:
        """Return for how long something newer than version `said` has been out; None when nothing is."""
        out_s = next((at for version, at in self.rows if version > said), None)
        return None if out_s is None else max(0.0, now - out_s)


class _Body(msgspec.Struct):
    version: int
    issued: datetime | None = msgspec.field(name=ISSUED_FIELD, default=None)


class _Timestamp(msgspec.Struct):
    signed: _Body


def timestamp_of(data: bytes) -> tuple[int, float | None]:
    """Return version and signed time, in seconds since 1970, of the metadata `timestamp.json`."""
    body = msgspec.json.decode(data, type=_Timestamp).signed
    return body.version, body.issued.timestamp() if body.issued else None
