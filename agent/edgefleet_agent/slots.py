"""How slots are named. Pure: `decide` asks it, and the store makes folders of these names."""


def slot_name(release_sha256: str, variant: str) -> str:
    """Return the name of the slot of a variant: the release's digest, shortened, and the variant."""
    return f"{release_sha256[:16]}-{variant}"
