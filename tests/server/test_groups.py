"""Queries find the devices that they say, print as they are read, and a call about many does all of it or nothing."""

import re
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.dsse import open_envelope
from edgefleet_protocol.messages import DeviceState
from edgefleet_protocol.rollout import DeviceAssignment
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE, PublicKey
from edgefleet_server.app import Server
from edgefleet_server.groups.query import KEYS, STATUSES, BadQuery, Query, Term, as_audience, parse
from edgefleet_server.store import devices
from edgefleet_server.store.devices import Device
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import PI4, ZERO

from .conftest import MakeServer
from .records import NEW, device

value = st.from_regex(r"[A-Za-z0-9._/@:-]{1,12}\*?", fullmatch=True)


@st.composite
def terms(draw: st.DrawFn) -> Term:
    key = draw(st.sampled_from(sorted(KEYS)))
    values = st.sampled_from(STATUSES) if key == "status" else value
    return Term(key, tuple(draw(st.lists(values, min_size=1, max_size=3))), draw(st.booleans()))


queries = st.lists(terms(), min_size=1, max_size=6).map(lambda rows: Query(tuple(rows)))


@given(queries)
def test_a_query_that_is_printed_and_read_is_the_same(query: Query) -> None:
    assert parse(str(query)) == query


@given(st.text(max_size=60))
def test_whatever_is_written_is_a_query_or_refused_with_words(text: str) -> None:
    try:
        query = parse(text)
    except BadQuery as error:
        assert len(str(error)) > 20
    else:
        assert parse(str(query)) == query
        query.matches(device())


@given(queries)
def test_a_term_and_its_negation_part_the_fleet(query: Query) -> None:
    fleet = [device("a", tags=("door",)), device("b", hardware=ZERO, running=NEW), device("c", region=None, said=False)]
    for term in query.terms:
        one, other = (Query((Term(term.key, term.values, negated),)) for negated in (False, True))
        assert [row.id for row in fleet if one.matches(row) != other.matches(row)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id=*", "a b c d"),
        ("region=eu-west", "a b d"),
        ("region=eu*", "a b d"),
        ("tag=door", "a d"),
        ("tag=door tag=lab", "d"),
        ("tag=door,lab", "a d"),
        ("tag!=door", "b c"),
        ("class=pi4 status=online", "a d"),
        ("class=pi4,pi-zero-2-w", "a b d"),
        ("status=offline", "c"),
        ("status=frozen", "d"),
        ("model=fashion", "b"),
        ("release=fashion/x", "b"),
        ("variant=fp32 phase=trying", "b"),
        ("id=a,b", "a b"),
        ("agent=0.1.0", "a b d"),
    ],
)
def test_a_query_means_the_devices_that_it_says(text: str, found: str) -> None:
    import dataclasses

    frozen = dataclasses.replace(device("d", tags=("door", "lab")), frozen="ana: inspection")
    fleet: list[Device] = [
        device("a", tags=("door",)),
        device("b", hardware=ZERO, running=NEW),
        device("c", online=False, region="ap-south", said=False),
        frozen,
    ]
    assert " ".join(row.id for row in fleet if parse(text).matches(row)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty query means nobody: for every device write id=*"),
        ("door", "'door' is no term: write KEY=VALUE"),
        ("colour=red", "'colour' is no key. Keys are id, region, tag"),
        ("tag=", "'tag=' is no term"),
        ("tag=a,,b", "has the value ''"),
        ("tag=*door", "a * may stand at the end only"),
        ("status=happy", "no device has the status 'happy'. There are: online, offline, frozen"),
        ("tag=a" * 300, "the query has 1500 characters and may have 1000"),
        ("tag=a;drop", "is no term"),
    ],
)
def test_a_malformed_query_is_refused_with_what_may_stand_there(text: str, words: str) -> None:
    with pytest.raises(BadQuery, match=re.escape(words)):
        parse(text)


def test_a_query_of_tags_and_classes_is_an_audience_that_devices_judge_themselves() -> None:
    assert as_audience(parse("region=eu-west tag=door tag=lab class=pi4,pi5")) == (("door", "lab"), ("pi4", "pi5"))
    assert as_audience(parse("class=pi4,pi5 class=pi5,tx2")) == ((), ("pi5",))
    for text in ("status=online", "tag!=door", "tag=door,lab", "tag=do*", "class=pi4 class=pi5", "id=a"):
        assert as_audience(parse(text)) is None


# --- many devices at once


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server without a broker, with three devices."""
    server = make_server(1)
    for name, region, hardware in (("one", "eu-west", PI4), ("two", "eu-west", ZERO), ("far", "ap-south", PI4)):
        state = DeviceState(
            device=name, session=1, boot="b", at_s=1.0, agent_version="0.1.0", region=region, hardware=hardware
        )
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    yield server
    server.database.close()


@pytest.fixture
def client(server: Server) -> TestClient:
    return TestClient(server.web, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)


def footprint(server: Server) -> object:
    with server.database.read() as connection:
        return [(row.id, row.region, row.tags, row.assigned_number, row.frozen) for row in devices.every(connection)]


def test_a_bulk_move_is_signed_numbered_and_written_down_and_says_what_was_so_already(
    server: Server, client: TestClient, repo: FakeRepository
) -> None:
    answer = client.post(
        "/v1/devices/move", json={"devices": ["one", "two"], "region": "ap-south", "why": "sold"}
    ).json()
    assert [(row["device"], row["number"]) for row in answer["changed"]] == [("one", 1), ("two", 1)]
    again = client.post("/v1/devices/move", json={"devices": ["one", "two"], "region": "ap-south"}).json()
    assert again == {"changed": [], "unchanged": ["one", "two"]}
    with server.database.read() as connection:
        envelope = devices.assignments(connection)["one"]
        known = devices.find(connection, "one")
    public = repo.online.public("commands")
    key = PublicKey(keyid=public.keyid, keytype=public.keytype, scheme=public.scheme, public=public.keyval["public"])
    from edgefleet_agent.signatures import verifiers

    document = decode(open_envelope(envelope, DEVICE_ASSIGNMENT_TYPE, verifiers([key])), DeviceAssignment)
    assert (document.device, document.number, document.region) == ("one", 1, "ap-south")
    assert known is not None and known.region == "ap-south" and time.time() - known.counts_from_s < 60
    rows = [
        row
        for row in client.get("/v1/audit").json()["items"]
        if row["action"] == "device.assign" and row["subject"] == "one"
    ]
    assert sorted(row["region"] for row in rows) == ["ap-south", "eu-west"]
    assert all(row["outcome"] == "number 1: moved to ap-south (sold)" for row in rows)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (
            "move",
            {"devices": ["one", "nobody", "none"], "region": "ap-south"},
            404,
            "nobody, none is known, so nothing",
        ),
        ("move", {"devices": ["one"], "region": "mars"}, 404, "there is no region mars. There are: eu-west, ap-south"),
        ("move", {"group": "tag=nothing", "region": "ap-south"}, 409, "no device matches tag=nothing"),
        ("move", {"group": "doors", "region": "ap-south"}, 404, "there is no group doors. There are: none"),
        ("move", {"group": "colour=red", "region": "ap-south"}, 422, "'colour' is no key"),
        ("move", {"region": "ap-south"}, 422, "name devices, or a group, and not both"),
        ("move", {"devices": ["one"], "group": "id=*", "region": "ap-south"}, 422, "and not both"),
        ("tags", {"devices": ["one", "nobody"], "add": ["lab"]}, 404, "nobody is known"),
        ("tags", {"devices": ["one"], "add": ["A B"]}, 422, "cannot name a tag"),
        ("tags", {"devices": ["one"], "add": ["lab"], "remove": ["lab"]}, 409, "to be added and to be removed"),
        ("tags", {"devices": ["one"]}, 422, "no tag to add or to remove"),
        ("freeze", {"devices": ["one", "nobody"]}, 404, "nobody is known"),
    ],
)
def test_a_call_with_one_thing_wrong_changes_nothing_and_names_it(
    server: Server, client: TestClient, path: str, body: dict[str, object], status: int, words: str
) -> None:
    before = footprint(server)
    answer = client.post(f"/v1/devices/{path}", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.json()
    assert footprint(server) == before


def test_a_device_in_quarantine_stops_the_whole_call(server: Server, client: TestClient) -> None:
    from edgefleet_server.ingest.lineage import Alarm, Start

    start = Start(head="h", boot="b")
    with server.database.write() as connection:
        devices.put_alarm(connection, "two", Alarm(since_s=1.0, why="two copies", first=start, second=start))
    before = footprint(server)
    answer = client.post("/v1/devices/freeze", json={"group": "region=eu-west"})
    assert answer.status_code == 409 and answer.json()["detail"].startswith("two in quarantine, so nothing was changed")
    assert footprint(server) == before


def test_tags_and_freezes_are_kept_by_what_is_assigned_later(server: Server, client: TestClient) -> None:
    assert client.post("/v1/devices/tags", json={"group": "class=pi4", "add": ["door", "lab"]}).status_code == 200
    assert client.post("/v1/devices/freeze", json={"devices": ["one"], "why": "inspection"}).status_code == 200
    assert client.post("/v1/devices/tags", json={"devices": ["one"], "remove": ["lab"]}).status_code == 200
    assert client.put("/v1/devices/one/assignment", json={"region": "eu-west", "tags": ["gate"]}).status_code == 200
    row = client.get("/v1/devices/one").json()
    assert (row["tags"], row["freeze"]) == (["gate"], "a person on this machine: inspection")
    assert client.get("/v1/select", params={"query": "status=frozen"}).json()["items"] == ["one"]
    assert client.post("/v1/devices/unfreeze", json={"group": "status=frozen"}).json()["changed"][0]["device"] == "one"
    assert client.get("/v1/devices/one").json()["freeze"] is None


def test_a_group_is_saved_as_its_query_found_anew_each_time_and_listed_in_parts(client: TestClient) -> None:
    row = client.put("/v1/groups/pis", json={"query": "  class=pi4   region=eu-west "}).json()
    assert (row["query"], row["audience"]) == ("class=pi4 region=eu-west", {"tags": [], "hardware": ["pi4"]})
    assert client.put("/v1/groups/all", json={"query": "id=*"}).json()["audience"] is None
    assert client.get("/v1/groups/pis").json()["items"] == ["one"]
    assert client.post("/v1/devices/move", json={"devices": ["far"], "region": "eu-west"}).status_code == 200
    assert client.get("/v1/groups/pis").json()["items"] == ["far", "one"]
    found = client.get("/v1/select", params={"query": "region=eu-west class=pi4"}).json()
    assert (found["audience"], found["regions"]) == ({"tags": [], "hardware": ["pi4"]}, ["eu-west"])
    part = client.get("/v1/groups/all", params={"limit": 2}).json()
    assert (part["matched"], part["items"], part["next"]) == (3, ["far", "one"], "one")
    assert client.get("/v1/groups/all", params={"after": "one"}).json()["items"] == ["two"]
    first = client.get("/v1/groups", params={"limit": 1}).json()
    assert (first["items"][0]["group"], first["next"]) == ("all", "all")
    assert client.put("/v1/groups/bad", json={"query": "door"}).status_code == 422
    assert client.put("/v1/groups/BAD", json={"query": "id=*"}).status_code == 422
    assert client.request("DELETE", "/v1/groups/pis", json={}).status_code == 200
    assert client.request("DELETE", "/v1/groups/pis", json={}).status_code == 404
