"""How it stands with the broker, for the log and for `status`."""

import msgspec


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Connected or not, and since when."""

    broker: str
    """`host:port`."""
    connected: bool
    since: float
    """Of `time.monotonic()`, which all processes of a boot share."""
    why: str = ""
    """Why there is no connection, as far as it is known."""
    dropped: int = 0
    """Messages since the agent's start that were too large, or that came faster than they were taken."""

    def words(self, now: float) -> str:
        """Return it for people: `no broker at 127.0.0.1:1883 for 40 s: Connection refused`."""
        age = _age(max(0.0, now - self.since))
        dropped = f"; {self.dropped} messages dropped" if self.dropped else ""
        if self.connected:
            return f"connected to the broker at {self.broker} for {age}{dropped}"
        return f"no broker at {self.broker} for {age}" + (f": {self.why}" if self.why else "") + dropped


def _age(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
