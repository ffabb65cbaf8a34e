"""Release numbers are given once: the list of releases remembers the last of each model, also of what was withdrawn."""

from tuf.api.metadata import Targets

from edgefleet_protocol.names import parse_release_name
from edgefleet_protocol.trust import release_of_path

from .roles import NUMBERS_FIELD


def last_numbers(releases: Targets) -> dict[str, int]:
    """Return the last number given, by model."""
    said = releases.unrecognized_fields.get(NUMBERS_FIELD)
    numbers = {
        model: number
        for model, number in (said.items() if isinstance(said, dict) else ())
        if isinstance(model, str) and type(number) is int and number > 0
    }
    for path in releases.targets:
        model, number = parse_release_name(release_of_path(path))
        numbers[model] = max(number, numbers.get(model, 0))
    return dict(sorted(numbers.items()))
