"""Numbers as people say them. Pure."""


def span(seconds: float) -> str:
    """In words, and coarse: a reason is stored whenever it changes, so it must not count seconds."""
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}s"
    return "less than two minutes"


def devices_in_words(count: int) -> str:
    """Return how many devices, as people say it."""
    return f"{count} device{'' if count == 1 else 's'}"
