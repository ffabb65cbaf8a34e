"""Whatever comes to the enrolment door, it answers with a documented refusal and never falls over. The corpus is beside."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgefleet_agent import identity_crypto
from edgefleet_server.identity.csr import Asked, read_csr
from edgefleet_server.identity.door import Asking
from edgefleet_server.identity.refusal import TurnedAway
from tests.fakes.enrolment import Enrolments

CORPUS = sorted((Path(__file__).parent / "csr_corpus").glob("*.der"))
DOCUMENTED = {400, 401, 403, 404, 405, 411, 413, 415}
QUIET = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GOOD = identity_crypto.request(identity_crypto.new_key(), "porch-1", "77")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enrolments]:
    folder = tmp_path_factory.mktemp("door")
    with Enrolments(folder) as door:
        yield door
    shutil.rmtree(folder)


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 8


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_each_request_of_the_corpus_is_answered_as_its_name_says(path: Path) -> None:
    try:
        found: object = read_csr(path.read_bytes())
    except TurnedAway as error:
        found = error.status
    expected = path.stem.rpartition("-")[2]
    assert isinstance(found, Asked) if expected == "good" else found == int(expected)


@QUIET
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 400))
def test_a_request_with_changed_bytes_is_refused_or_still_proves_its_key(
    changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at % len(data)] = value
    try:
        read_csr(bytes(data[: len(data) - cut % 40]))
    except TurnedAway as error:
        assert error.status in DOCUMENTED


@QUIET
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "BREW"]),
    st.sampled_from(
        ["cacerts", "simpleenroll", "simplereenroll", "eu-west/simpleenroll", "../x", "%2e%2e", "a/b/c", ""]
    ),
    st.sampled_from(["application/pkcs10", "text/plain", "", "application/pkcs10; x=y"]),
    st.one_of(st.binary(max_size=300), st.just(base64.b64encode(GOOD)), st.binary(max_size=60).map(base64.b64encode)),
    st.one_of(st.text(max_size=60), st.just("Basic " + base64.b64encode(b"a:b").decode()), st.just("Basic \u00e4")),
)
@example("POST", "simpleenroll", "application/pkcs10", b"A" * 9, "Basic " + base64.b64encode(b"\xff:\xff").decode())
@example("POST", "simpleenroll", "application/pkcs10", base64.b64encode(GOOD), "Basic Og==")
def test_any_request_gets_a_documented_answer(
    door: Enrolments, method: str, path: str, kind: str, body: bytes, login: str
) -> None:
    headers = {"content-type": kind, "authorization": login}
    answer = door.door.answer(Asking(method, f"/.well-known/est/{path}", headers, body, None, "127.0.0.1"))
    assert answer.status in DOCUMENTED or (answer.status, method, path) == (200, "GET", "cacerts")
    assert answer.body
