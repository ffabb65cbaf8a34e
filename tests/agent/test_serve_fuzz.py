"""Whatever bytes a client sends, it gets an answer of the protocol, and never an error that nobody thought of."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefleet_agent.serve.core import Core
from edgefleet_agent.serve.counters import Counters
from edgefleet_agent.serve.door import Queue
from edgefleet_agent.serve.errors import Refused
from edgefleet_agent.serve.http import Head, Request, body_length, parse_head
from edgefleet_agent.serve.model import open_model
from edgefleet_agent.serve.oip import Protocol
from edgefleet_agent.serve.words import too_deep
from tests.fakes.served import FEATURES, write_model


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Protocol:
    """The protocol of a real model, in this process."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    spec = write_model(folder)
    return Protocol(Core(spec, open_model(spec), Counters(), Queue()))


@settings(deadline=None)
@given(st.binary(max_size=400) | st.text(alphabet="GETPOS /v2HT.10\r\n: contelgh-abc", max_size=300).map(str.encode))
def test_any_head_is_read_or_refused(data: bytes) -> None:
    try:
        head = parse_head(data)
        assert 0 <= (body_length(head) or 0) <= 64 * 1024 * 1024
    except Refused as error:
        assert 400 <= error.status < 500 or error.status == 501
    else:
        assert isinstance(head, Head)


numbers = st.integers(-(2**70), 2**70) | st.floats() | st.booleans() | st.none()
leaves = numbers | st.text(max_size=5)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["image", "other"]) | anything,
        "datatype": st.sampled_from(["FP32", "INT64", "FP16"]) | anything,
        "shape": st.sampled_from([[1, FEATURES], [2, FEATURES], [FEATURES], [0, FEATURES]]) | anything,
    },
    optional={
        "data": st.lists(numbers, min_size=FEATURES, max_size=FEATURES) | anything,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "binary_data", "shared_memory_region"]), anything, max_size=2
        )
        | anything,
    },
)
questions = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2) | anything},
    optional={"outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["scores", "x"]) | anything}), max_size=2)
              | anything, "id": anything, "parameters": anything},
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@given(question=questions | anything, length=st.none() | st.integers(-5, 400), tail=st.binary(max_size=60))
def test_any_question_is_answered_or_refused(
    protocol: Protocol, question: Any, length: int | None, tail: bytes
) -> None:
    head = json.dumps(question).encode()
    headers = {} if length is None else {"inference-header-content-length": str(len(head) if length < 0 else length)}
    request = Request("POST", "/v2/models/fashion/infer", headers, memoryview(head + tail), True)
    response = protocol.answer(request)
    assert response.status in (200, 400, 501, 504), bytes(response.body[0])


@pytest.mark.parametrize("opens", [b"[", b'{"a":', b'["]",[', b'[{"x":"\\"]",'.replace(b"\\\\", b"\\") + b'"y":'])
def test_nesting_without_end_is_refused_before_it_is_read(protocol: Protocol, opens: bytes) -> None:
    for body in (
        opens * 100_000,
        b'{"inputs":' + opens * 30_000,
        b'{"id":"' + b"[" * 4000 + b'","inputs":' + opens * 9000,
    ):
        response = protocol.answer(Request("POST", "/v2/models/fashion/infer", {}, memoryview(body), True))
        assert response.status == 400 and b"nested" in bytes(response.body[0])


@settings(deadline=None)
@given(anything, st.integers(0, 40))
def test_what_is_not_deep_is_not_taken_for_deep(value: Any, levels: int) -> None:
    for _ in range(levels):
        value = [value, {"[": "]{"}]
    rows = [[[value, "[[[", '\\"]'] * 3] * 9] * 30
    data = json.dumps({"inputs": rows}).encode()
    assert not too_deep(data)
    assert too_deep(b"[" * 600 + data + b"]" * 600)
