"""Hostile documents, envelopes, chunks and topics: a document that says what it should comes out, or a ProtocolError.

`corpus/` holds the inputs that are tried each time, in every place: what once broke something here or elsewhere. An input that a
run finds goes there.
"""

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_protocol import codec
from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.dsse import open_envelope
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import Chunk, Release
from edgefleet_protocol.messages import Command, DeviceState, Event, Need, Presence, Reply
from edgefleet_protocol.onnx_guard import guard
from edgefleet_protocol.release_check import check_release
from edgefleet_protocol.rollout import DeviceAssignment, Rollout
from edgefleet_protocol.telemetry import TelemetryBatch
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import KeyList

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden/wire/v1"
KINDS: dict[str, type[codec.Document]] = {
    "command": Command,
    "device-assignment": DeviceAssignment,
    "device-state": DeviceState,
    "event": Event,
    "key-list": KeyList,
    "need": Need,
    "presence": Presence,
    "release": Release,
    "reply": Reply,
    "rollout": Rollout,
    "telemetry-batch": TelemetryBatch,
}
CORPUS = sorted(path.name for path in (HERE / "corpus").iterdir())
ENVELOPE = "envelope.dsse.json"


def try_document(data: bytes, kind: type[codec.Document]) -> bool:
    """Decode as a device or a server does; return whether it was taken. Nothing but ProtocolError may come out."""
    try:
        document = codec.decode(data, kind, agent_version="0.1.0")
        if isinstance(document, Release):
            check_release(document)
    except ProtocolError as error:
        assert str(error), "an error says something"
        return False
    # What was taken can be stored, relayed and read again.
    assert codec.decode(codec.encode(document), kind, limit=10**9) == document
    return True


def try_everywhere(data: bytes) -> None:
    """Give `data` to everything that reads bytes from outside."""
    for kind in KINDS.values():
        try_document(data, kind)
    for read in (
        lambda: open_envelope(data, "application/x", {"k": lambda signature, message: False}),
        lambda: unpack(data, Chunk(sha256="ab" * 32, bytes=40, wire_bytes=50)),
        lambda: guard(data),
        lambda: Topics("demo").parse(data.decode("utf-8", "surrogateescape")),
        lambda: Topics("demo").parse("edgefleet/v1/demo/" + data.decode("utf-8", "replace")),
    ):
        with pytest.raises(ProtocolError):
            read()


@pytest.mark.parametrize("name", CORPUS)
def test_what_once_broke_something_is_refused_in_every_place(name: str) -> None:
    try_everywhere((HERE / "corpus" / name).read_bytes())


def test_the_golden_documents_are_taken() -> None:
    for name, kind in KINDS.items():
        assert try_document((GOLDEN / f"{name}.json").read_bytes(), kind), name


@settings(max_examples=150, derandomize=True)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused_in_every_place(data: bytes) -> None:
    try_everywhere(b"\x02" + data)


ODD: list[Any] = [
    None, True, -1, 0, 2**63, 2**70, 1e308, -0.0, "", "x" * 5000, "../..", "a\0b", "\u202e", "é" * 100, [], {}, [[]], [None],
    {"": ""}, {"a": {"a": {"a": []}}}, "2026-13-45T99:99:99Z", "NaN", ["x"] * 100, {str(n): n for n in range(100)},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(document: Any, path: tuple[Any, ...], how: str, odd: Any) -> Any:
    """Return the document with one place replaced, removed, doubled, or given a field more."""
    if not path:
        return odd
    out = copy.deepcopy(document)
    at = out
    for key in path[:-1]:
        at = at[key]
    last = path[-1]
    if how == "remove":
        del at[last]
    elif how == "double" and isinstance(at, list):
        at.append(at[last])
    elif how == "add" and isinstance(at[last], dict):
        at[last]["unheard-of"] = odd
    else:
        at[last] = odd
    return out


@settings(max_examples=600, derandomize=True)
@given(
    name=st.sampled_from(sorted(KINDS)),
    where=st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
    how=st.sampled_from(["replace", "replace", "remove", "double", "add"]),
    odd=st.sampled_from(range(len(ODD))),
)
def test_a_document_that_is_wrong_in_one_to_three_places_is_taken_whole_or_refused(
    name: str, where: list[int], how: str, odd: int
) -> None:
    document = json.loads((GOLDEN / f"{name}.json").read_bytes())
    for number in where:
        every = places(document)
        document = changed(document, every[number % len(every)], how, ODD[odd])
    try_document(msgspec.json.encode(document) if isinstance(document, dict | list) else b"%r" % document, KINDS[name])


@settings(max_examples=200, derandomize=True)
@given(
    where=st.integers(0, 10**6),
    how=st.sampled_from(["replace", "remove", "double"]),
    odd=st.sampled_from(range(len(ODD))),
)
def test_an_envelope_that_is_wrong_in_one_place_is_refused(where: int, how: str, odd: int) -> None:
    document = json.loads((GOLDEN / ENVELOPE).read_bytes())
    every = places(document)
    hostile = changed(document, every[where % len(every)], how, ODD[odd])
    with pytest.raises(ProtocolError):
        open_envelope(json.dumps(hostile).encode(), document["payloadType"], {"k": lambda signature, message: False})
