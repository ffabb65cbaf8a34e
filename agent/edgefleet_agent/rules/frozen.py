"""What the fleet's operators froze: a device by its signed assignment, a region by its signed rollout. Pure."""


def frozen_words(device: str, region: str) -> str | None:
    """Return in words that nothing new begins here, by whose word; None when nobody froze it.

    device, region: the words of the signed documents, empty where they say nothing.
    """
    if device:
        return f"frozen by the fleet: {device}"
    return f"frozen with its whole region: {region}" if region else None
