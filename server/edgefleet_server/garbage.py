"""Python's collector of cycles, told that there are few to find."""

import gc

YOUNG, MIDDLE, OLD = 50_000, 20, 50


def settle() -> None:
    """Look for cycles a seventieth as often, and never again among what is there now.

    What comes from devices are trees, which go when nobody names them any more; looking through them for cycles was a quarter of
    what reading them cost. Call it once, when everything is built.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
