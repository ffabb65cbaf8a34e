"""What is wrong with a value is said with its name, what it is, and what it must be, and never in another library's words."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from edgefleet_protocol.names import DeviceId
from edgefleet_protocol.rollout import TimeOfDay
from edgefleet_protocol.wrong_type import converted


class Span(msgspec.Struct, forbid_unknown_fields=True):
    start: str
    days: tuple[Literal["monday", "sunday"], ...] = ()


class Settings(msgspec.Struct):
    at: tuple[TimeOfDay, ...] = ()
    device: DeviceId = "pi-1"
    key: Annotated[str, msgspec.Meta(pattern="^[0-9]+$")] = "1"
    port: Annotated[int, msgspec.Meta(ge=1)] = 1
    wait_s: float | None = None
    open: bool = False
    download: Literal["any-time", "in-window"] = "any-time"
    name: Annotated[str, msgspec.Meta(max_length=3)] = ""
    spans: tuple[Span, ...] = ()
    by_class: dict[str, Literal["latency", "energy"]] = {}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"port": "x"}, "broker.port is 'x' and must be a whole number"),
        ({"port": 0}, "broker.port is 0 and must be a whole number of at least 1"),
        ({"wait_s": "soon"}, "broker.wait_s is 'soon' and must be a number"),
        ({"open": 1}, "broker.open is 1 and must be true or false"),
        ({"name": "long"}, "broker.name is 'long' and must be a text in quotes with a length of at most 3"),
        ({"download": "later"}, "broker.download is 'later' and must be one of any-time, in-window"),
        ({"by_class": {"pi4": "luck"}}, "broker.by_class[...] is 'luck' and must be one of energy, latency"),
        ({"by_class": {"pi4": 7}}, "broker.by_class[...] must be a text in quotes"),
        ({"spans": 5}, "broker.spans is 5 and must be a list"),
        ({"spans": [{"start": "1"}, {}]}, "broker.spans[1].start is missing"),
        ({"spans": [{"start": "1", "days": ["monday", "x"]}]}, "broker.spans[0].days[1] is 'x' and must be one of monday, sunday"),
        ({"spans": [{"start": "1", "end": 2}]}, "broker.spans[0] is {'start': '1', 'end': 2} and is refused: object contains unknown field `end`"),
        ({"port": "x" * 500}, f"broker.port is '{'x' * 79}… and must be a whole number"),
        ({"at": ["25:00"]}, "broker.at[0] is '25:00' and must be a time of day, as in 22:30"),
        ({"device": "A B"}, "broker.device is 'A B' and must be a name: 1 to 64 of a-z, 0-9 and -, with a letter or digit at either end"),
        ({"key": "x"}, "broker.key is 'x' and must be a text that matches '^[0-9]+$'"),
        ([], "broker is [] and must be a [section] of keys"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_shown_and_told_what_it_must_be(data: Any, words: str) -> None:
    with pytest.raises(ValueError) as error:
        converted(data, Settings, "broker", ValueError)
    assert str(error.value) == words


def test_of_a_whole_file_a_key_has_no_more_than_its_own_name() -> None:
    with pytest.raises(ValueError, match=r"^port is 'x' and must be a whole number$"):
        converted({"port": "x"}, Settings, "", ValueError)
    assert converted({"port": 5}, Settings, "", ValueError).port == 5
