"""Laws are tried with random inputs, and no example is judged by its time."""

from hypothesis import settings

settings.register_profile("edgefleet", deadline=None)
settings.load_profile("edgefleet")
