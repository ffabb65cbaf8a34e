"""What an attack says when the product did not hold."""


class Broken(Exception):
    """The attack got through, or the product failed in another way than it promises. The message says what was seen."""


def must(held: bool, seen: str) -> None:
    """Raise Broken with `seen` unless `held`."""
    if not held:
        raise Broken(seen)
