"""Documents to bytes and back: what is unknown is ignored, what is too new or hostile is refused with a reason."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.codec import (
    FORMAT,
    MAX_DOCUMENT_BYTES,
    Document,
    Record,
    decode,
    encode,
    sha256_hex,
    version_tuple,
)
from edgefleet_protocol.errors import BadDocument, ProtocolError, TooLarge, TooNew
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.messages import DeviceState, Event, Need, Presence
from edgefleet_protocol.rollout import DeviceAssignment, Rollout
from edgefleet_protocol.telemetry import TelemetryBatch
from edgefleet_protocol.trust import KeyList
from tests.protocol.sample import assignment, release, rollout

PRESENCE = Presence(device="pi-7", session=3, online=True)
KINDS = (Release, Rollout, DeviceAssignment, KeyList, DeviceState, Presence, Event, TelemetryBatch)


def presence(**changes: object) -> bytes:
    return json.dumps(
        {"format": 1, "minimum_agent": "0.1.0", "device": "pi-7", "session": 3, "online": True} | changes
    ).encode()


@pytest.mark.parametrize("document", (PRESENCE, release(), rollout(assignment())), ids=lambda each: type(each).__name__)
def test_a_document_comes_back(document):
    assert decode(encode(document), type(document)) == document
    assert encode(decode(encode(document), type(document))) == encode(document)


def test_the_format_and_the_agent_are_always_in_the_bytes():
    said = json.loads(encode(PRESENCE))
    assert (said["format"], said["minimum_agent"]) == (1, "0.1.0")


def test_parts_leave_their_defaults_out_and_documents_do_not():
    assert (
        encode(Need(device="a"))
        == b'{"format":1,"minimum_agent":"0.1.0","device":"a","chunks":[],"targets":[],"metadata":[]}'
    )
    assert "notes" in json.loads(encode(release()))
    assert "colour" not in json.loads(encode(release()))["interface"]["inputs"][0]


def test_fields_that_are_not_known_are_ignored():
    assert decode(presence(later={"deep": [1, 2, {"x": None}]}), Presence) == PRESENCE
    data = json.loads(encode(rollout(assignment())))
    data["assignments"][0]["later"] = data["policy"]["later"] = 7
    assert decode(json.dumps(data).encode(), Rollout) == rollout(assignment())


def test_a_later_format_is_refused_even_when_nothing_else_can_be_read():
    for data in (presence(format=FORMAT + 1), b'{"format":2}', b'{"format":99,"device":["other","shape"]}'):
        with pytest.raises(TooNew, match="this version reads up to 1: update this side first"):
            decode(data, Presence)


@pytest.mark.parametrize("format", (0, -1, "1", 1.5, None, True, [1]))
def test_a_format_that_is_none_is_refused(format):
    with pytest.raises(BadDocument):
        decode(presence(format=format), Presence)


def test_a_document_without_a_format_is_refused():
    with pytest.raises(BadDocument, match="format"):
        decode(b'{"device":"pi-7","session":3,"online":true}', Presence)


@pytest.mark.parametrize(
    ("minimum", "agent", "obeyed"),
    (("0.1.0", "0.1.0", True), ("0.1.1", "0.1.0", False), ("0.9.0", "0.10.0", True), ("1.0.0", "0.99.99", False),
     ("0.1.0", "2.0.0", True)),
)  # fmt: skip
def test_a_document_for_a_later_agent_is_refused(minimum, agent, obeyed):
    data = presence(minimum_agent=minimum)
    assert decode(data, Presence).minimum_agent == minimum  # whoever is no agent reads it all the same
    if obeyed:
        assert decode(data, Presence, agent_version=agent).device == "pi-7"
    else:
        with pytest.raises(TooNew, match=f"needs agent {minimum} and this is {agent}"):
            decode(data, Presence, agent_version=agent)


@pytest.mark.parametrize(
    "version", ("", "1", "1.2", "1.2.3.4", "1.2.x", "v1.2.3", "1.2.3\n", "1.2.-3", "٠.١.٠", "12345.0.0")
)
def test_a_version_is_three_plain_numbers(version):
    with pytest.raises(BadDocument, match="is not a version"):
        version_tuple(version)
    with pytest.raises(BadDocument):
        decode(presence(minimum_agent=version), Presence, agent_version="0.1.0")


def test_a_document_that_is_too_long_is_not_read():
    with pytest.raises(TooLarge, match="a Presence document in bytes is 1000001 and the limit is 1000000"):
        decode(b" " * (MAX_DOCUMENT_BYTES + 1), Presence)
    with pytest.raises(TooLarge):
        decode(presence(), Presence, limit=10)


HOSTILE = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "cut short": presence()[:-1],
    "something behind": presence() + b"x",
    "two documents": presence() * 2,
    "not UTF-8": presence().replace(b"pi-7", b"\xff\xfe"),
    "half a surrogate": presence().replace(b"pi-7", b"\\ud800"),
    "UTF-16": presence().decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + presence(),
    "NaN": presence().replace(b"3", b"NaN"),
    "infinity": presence().replace(b"3", b"-Infinity"),
    "number out of range": presence().replace(b"3", b"1e999"),
    "number of 400,000 digits": presence().replace(b"3", b"9" * 400_000),
    "number with a point": presence().replace(b"3", b"3.0"),
    "number as text": presence(session="3"),
    "number below its range": presence(session=-1),
    "number beyond its range": presence(session=2**53 + 1),
    "truth as a number": presence(online=1),
    "name that is no label": presence(device="../x"),
    "name with a line break": presence(device="pi-7\n"),
    "format of 5,000 digits": presence().replace(b'"format": 1', b'"format": ' + b"9" * 5000),
    "nested where nothing is read": presence(later=0).replace(
        b'"later": 0', b'"later": ' + b"[" * 200_000 + b"]" * 200_000
    ),
    "nested and open": b'{"format":1,"x":' + b'{"a":' * 150_000,
    "nested lists": b"[" * 900_000,
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_hostile_bytes_give_only_errors_of_the_protocol(kind, case):
    with pytest.raises(BadDocument) as refused:
        decode(HOSTILE[case], kind, agent_version="0.1.0")
    assert kind.__name__ in str(refused.value)
    assert len(str(refused.value)) < 1000


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda below: st.one_of(st.lists(below), st.dictionaries(st.text(), below)),
    max_leaves=20,
)


@given(st.sampled_from(KINDS), st.one_of(st.binary(max_size=300), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_a_document_or_an_error_of_the_protocol(kind, data):
    with contextlib.suppress(ProtocolError):
        decode(data, kind)


@given(st.data())
def test_a_document_with_any_part_replaced_is_a_document_or_an_error(draw):
    whole = json.loads(encode(draw.draw(st.sampled_from((release(), rollout(assignment()), PRESENCE)))))
    kind = Release if "variants" in whole else Rollout if "serial" in whole else Presence
    at = whole
    while True:
        key = draw.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], dict | list) and at[key] and draw.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = draw.draw(JSON)
        break
    with contextlib.suppress(ProtocolError):
        decode(json.dumps(whole).encode(), kind)


@pytest.mark.parametrize("text", ("2026-11-25T00:00:00", "2026-11-25", "yesterday", 0))
def test_a_time_without_its_offset_is_refused(text):
    data = json.loads(encode(rollout(assignment())))
    data["issued"] = text
    with pytest.raises(BadDocument, match=r"\$\.issued"):
        decode(json.dumps(data).encode(), Rollout)


def test_times_can_be_compared_wherever_they_were_written():
    data = json.loads(encode(rollout(assignment())))
    data["issued"] = "2026-11-25T01:00:00+02:00"
    assert decode(json.dumps(data).encode(), Rollout).issued < rollout().issued


def test_records_are_frozen_and_named():
    with pytest.raises(AttributeError):
        PRESENCE.online = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        Presence("pi-7", 3, True)  # type: ignore[call-arg,misc]
    assert issubclass(Document, Record)


def test_a_digest_is_that_of_the_standard():
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
