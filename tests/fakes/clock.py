"""A clock that only moves when it is told to."""

BOOTED_AT = 1_800_000_000.0
"""2027-01-15."""


class FakeClock:
    """Both clocks of a device, and its boot id."""

    def __init__(self, wall: float = BOOTED_AT, monotonic: float = 1000.0, boot: str = "boot-1") -> None:
        self.wall, self.mono, self.boot_id = wall, monotonic, boot

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def boot(self) -> str:
        return self.boot_id

    def advance(self, seconds: float) -> None:
        """Let time pass, by both clocks."""
        self.wall += seconds
        self.mono += seconds
