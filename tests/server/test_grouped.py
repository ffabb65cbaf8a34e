"""A group as a rollout's audience: judged by the devices where they can, else named, and never wider than what else was asked."""

from typing import Any

import pytest

from edgefleet_server.cli.grouped import narrowed
from edgefleet_server.errors import BadRequest, Refused

BODY: dict[str, Any] = {
    "release": "fashion/3",
    "regions": [],
    "stages": [100.0],
    "audience": {"tags": [], "hardware": []},
}


class Server:
    """Answers what a query means."""

    def __init__(self, audience: dict[str, list[str]] | None, regions: list[str] | None, names: list[str]) -> None:
        self._found = {"query": "q=1", "audience": audience, "regions": regions, "items": names, "matched": len(names)}

    def get(self, path: str, **query: object) -> Any:
        assert path == "/v1/select"
        return self._found


def test_tags_classes_and_regions_become_the_audience_beside_what_else_was_asked() -> None:
    server = Server({"tags": ["door"], "hardware": ["pi4", "pi5"]}, ["eu-west"], ["a"])
    assert narrowed(server, "doors", BODY) == {
        **BODY,
        "regions": ["eu-west"],
        "audience": {"tags": ["door"], "hardware": ["pi4", "pi5"]},
    }
    asked = {**BODY, "stages": [10.0, 100.0], "audience": {"tags": ["lab"], "hardware": ["pi5"]}}
    found = narrowed(server, "doors", asked)
    assert (found["audience"], found["stages"]) == ({"tags": ["lab", "door"], "hardware": ["pi5"]}, [10.0, 100.0])


def test_any_other_query_names_its_devices_as_one_stage() -> None:
    found = narrowed(Server(None, None, ["a", "b"]), "status=online", {**BODY, "regions": ["eu-west"]})
    assert (found["stages"], found["regions"]) == ([{"devices": ["a", "b"]}], ["eu-west"])


@pytest.mark.parametrize(
    ("server", "body", "kind", "words"),
    [
        (Server(None, None, []), BODY, Refused, "no device matches doors"),
        (Server(None, None, ["a"]), {**BODY, "stages": [50.0, 100.0]}, BadRequest, "which is one stage"),
        (Server(None, None, ["a"] * 501), BODY, BadRequest, "matches 501 devices and a rollout may name 500"),
        (
            Server({"tags": [], "hardware": []}, ["eu-west"], ["a"]),
            {**BODY, "regions": ["mars"]},
            BadRequest,
            "nobody is in",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(
    server: Server, body: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        narrowed(server, "doors", body)
