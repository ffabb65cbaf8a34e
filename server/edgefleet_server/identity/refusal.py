"""Why somebody at the door is turned away. The only error that the door answers with, besides its own being out of order."""


class TurnedAway(Exception):
    """What was asked is refused. `status` is HTTP's, the message is what the asker reads."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def unreadable(words: str) -> TurnedAway:
    """What came cannot be read, or proves nothing."""
    return TurnedAway(400, words)


def forbidden(words: str) -> TurnedAway:
    """What came is well formed and not allowed."""
    return TurnedAway(403, words)
