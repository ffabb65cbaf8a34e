"""The worker answers the Open Inference Protocol, and refuses what it cannot answer with the protocol's own errors."""

import contextlib
import gzip
import http.client
import json
import math
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from edgefleet_agent.seams import WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher
from tests.fakes.served import CLASSES, FEATURES, ready, until, write_model


class Served:
    """A worker that serves, and a way to ask it."""

    def __init__(self, launcher: ProcessLauncher, spec: WorkerSpec) -> None:
        self.spec = spec
        self.worker = launcher.start(spec)
        ready(self.worker)
        self.worker.accept()
        self.port = launcher.port(spec.model)

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and return all that comes until the worker closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            got = b""
            while part := sock.recv(65536):
                got += part
            return got

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def infer(self, question: object, **headers: str) -> tuple[int, Any]:
        """Ask in JSON; return status and body."""
        status, _, body = self.ask("POST", "/v2/models/fashion/infer", json.dumps(question).encode(), headers)
        return status, json.loads(body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One worker for all tests: none may disturb the next."""
    folder = tmp_path_factory.mktemp("oip")
    launcher = ProcessLauncher(folder / "run")
    yield Served(launcher, write_model(folder, release="fashion/3"))
    launcher.close()


IMAGE = [0.25 * i for i in range(FEATURES)]
RAW = struct.pack(f"<{FEATURES}f", *IMAGE)


def tensor(**changes: object) -> dict[str, object]:
    """Return the input of a good question, changed."""
    return {"name": "image", "datatype": "FP32", "shape": [1, FEATURES], "data": IMAGE, **changes}


def test_the_server_and_the_model_describe_themselves(served: Served) -> None:
    status, headers, body = served.ask("GET", "/v2")
    assert status == 200 and headers["content-type"] == "application/json"
    assert json.loads(body)["name"] == "edgefleet"
    for path in ("/v2/models/fashion", "/v2/models/fashion/versions/3"):
        _, _, body = served.ask("GET", path)
        said = json.loads(body)
        assert said["name"] == "fashion" and said["versions"] == ["3"] and said["platform"] == "onnxruntime_onnx"
        assert said["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, FEATURES]}]
        assert said["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, CLASSES]}]
        assert said["parameters"]["labels"] == ["ant", "bee", "cat", "dog"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("HEAD", "/v2/health/ready", 200),
        ("GET", "/v2/models/fashion/ready", 200),
        ("GET", "/v2/models/fashion/versions/3/ready", 200),
        ("GET", "/v2/models/fashion/versions/2/ready", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/fashion/stats", 200),
        ("GET", "/v2/models/stats", 200),
        ("POST", "/v2/repository/index", 200),
        ("POST", "/v2/repository/models/fashion/load", 403),
        ("POST", "/v2/repository/models/fashion/unload", 403),
        ("GET", "/", 404),
        ("GET", "/v1/models", 404),
        ("GET", "/v2/models/fashion/nothing", 404),
        ("GET", "/v2/models/fashion/infer", 405),
        ("DELETE", "/v2/models/fashion", 405),
        ("BREW", "/v2/health/live", 405),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/fashion/versions/9/infer", 404),
        ("GET", "/v2/models/%2e%2e%2fetc/ready", 404),
    ],
)
def test_every_path_has_its_status_and_errors_are_json(served: Served, method: str, path: str, status: int) -> None:
    found, headers, body = served.ask(method, path)
    assert found == status, body
    if status >= 400:
        assert list(json.loads(body)) == ["error"]
    if status == 405:
        assert headers["allow"] in ("GET", "POST")


def test_json_is_answered_flat_or_nested_with_the_id_echoed(served: Served) -> None:
    status, flat = served.infer({"id": "a7", "inputs": [tensor()]})
    assert status == 200 and flat["id"] == "a7"
    assert flat["model_name"] == "fashion" and flat["model_version"] == "3"
    assert flat["parameters"] == {
        "release": "fashion/3",
        "variant": "small",
        "variant_sha256": served.spec.variant_sha256,
    }
    (scores,) = flat["outputs"]
    assert scores["shape"] == [1, CLASSES] and len(scores["data"]) == CLASSES
    status, nested = served.infer({"inputs": [tensor(data=[IMAGE])]})
    assert status == 200 and "id" not in nested and nested["outputs"] == flat["outputs"]


def test_binary_goes_in_and_out(served: Served) -> None:
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "FP32",
                    "shape": [2, FEATURES],
                    "parameters": {"binary_data_size": 2 * len(RAW)},
                }
            ],
            "outputs": [{"name": "scores", "parameters": {"binary_data": True}}],
        }
    ).encode()
    status, headers, body = served.ask(
        "POST", "/v2/models/fashion/infer", head + RAW + RAW, {"Inference-Header-Content-Length": str(len(head))}
    )
    assert status == 200, body
    length = int(headers["inference-header-content-length"])
    assert int(headers["content-length"]) == len(body) == length + 2 * CLASSES * 4
    said = json.loads(body[:length])
    assert said["outputs"][0]["parameters"] == {"binary_data_size": 2 * CLASSES * 4}
    _, plain = served.infer({"inputs": [tensor()]})
    got = struct.unpack(f"<{2 * CLASSES}f", body[length:])
    assert got[:CLASSES] == got[CLASSES:] == pytest.approx(plain["outputs"][0]["data"])


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_packed_bodies_are_unpacked(served: Served, name: str, pack: Any) -> None:
    body = pack(json.dumps({"inputs": [tensor()]}).encode())
    assert served.ask("POST", "/v2/models/fashion/infer", body, {"Content-Encoding": name})[0] == 200


def test_a_packed_body_may_not_grow_without_end(served: Served) -> None:
    body = gzip.compress(b" " * (65 * 1024 * 1024))
    status, _, said = served.ask("POST", "/v2/models/fashion/infer", body, {"Content-Encoding": "gzip"})
    assert status in (413, 503), said


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ([], "not a JSON object"),
        ({}, "no list of inputs"),
        ({"inputs": []}, "missing input image"),
        ({"inputs": [7]}, "no list of inputs"),
        ({"inputs": [tensor(name="other")]}, "unexpected input 'other'"),
        ({"inputs": [tensor(), tensor()]}, "comes twice"),
        ({"inputs": [tensor(datatype="FP64")]}, "must be FP32"),
        ({"inputs": [tensor(shape=[1, 3])]}, "must be [-1, 12]"),
        ({"inputs": [tensor(shape=[-1, 12])]}, "must be [-1, 12]"),
        ({"inputs": [tensor(shape=[0, 12], data=[])]}, "must be [-1, 12]"),
        ({"inputs": [tensor(shape=[True, 12])]}, "must be [-1, 12]"),
        ({"inputs": [tensor(shape=None)]}, "must be [-1, 12]"),
        ({"inputs": [tensor(shape=[2**40, 12])]}, "must be [-1, 12]"),
        ({"inputs": [tensor(data=IMAGE[:-1])]}, "11 values"),
        ({"inputs": [tensor(data=None)]}, "neither data nor binary_data_size"),
        ({"inputs": [tensor(data=["a"] * 12)]}, "its data is not"),
        ({"inputs": [tensor(data=[[1, 2], [3]])]}, "data"),
        ({"inputs": [tensor(parameters={"binary_data_size": 48})]}, "0 are left"),
        ({"inputs": [tensor(parameters={"binary_data_size": -1})]}, "0 are left"),
        ({"inputs": [tensor(parameters=[])]}, "parameters is no object"),
        ({"inputs": [tensor()], "outputs": [{"name": "other"}]}, "unexpected output"),
        ({"inputs": [tensor()], "outputs": [{"name": "scores"}, {"name": "scores"}]}, "asked twice"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "scores", "parameters": {"classification": 2}}]},
            "classification is not supported",
        ),
        ({"inputs": [tensor()], "id": 7}, "id is no text"),
    ],
)
def test_a_bad_question_is_refused_in_words(served: Served, question: object, words: str) -> None:
    status, said = served.infer(question)
    assert status == 400
    assert words in said["error"]


@pytest.mark.parametrize("rows", [300_000, 600_000, 1_000_000])
def test_an_answer_in_json_that_does_not_fit_into_memory_costs_no_worker(served: Served, rows: int) -> None:
    size = rows * FEATURES * 4
    question = json.dumps(
        {"inputs": [tensor(shape=[rows, FEATURES], data=None, parameters={"binary_data_size": size})]}
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(question))}
    status, _, body = served.ask("POST", "/v2/models/fashion/infer", question + bytes(size), headers)
    assert status in (200, 503)
    if status == 200:
        assert len(json.loads(body)["outputs"][0]["data"]) == rows * CLASSES
    assert served.worker.poll() == "ready"
    # 503 may follow while the memory is being given back, and the next clients are served.
    until(lambda: served.infer({"inputs": [tensor()]})[0] == 200, "it answers again")


def test_an_id_without_end_is_refused(served: Served) -> None:
    status, said = served.infer({"id": "x" * 5000, "inputs": [tensor()]})
    assert (status, said) == (400, {"error": "id has 5000 characters and may have 4096"})


def test_the_configuration_and_the_index_are_as_other_clients_read_them(served: Served) -> None:
    config = json.loads(served.ask("GET", "/v2/models/fashion/config")[2])
    assert config["name"] == "fashion" and config["backend"] == "onnxruntime" and config["max_batch_size"] == 0
    assert config["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [-1, FEATURES]}]
    assert config["parameters"]["variant_sha256"] == {"string_value": served.spec.variant_sha256}
    for body in (b"", b"{}", b'{"ready":true}'):
        rows = json.loads(served.ask("POST", "/v2/repository/index", body)[2])
        assert rows == [{"name": "fashion", "version": "3", "state": "READY", "reason": ""}]
    assert served.ask("POST", "/v2/repository/index", b"{")[0] == 400


def test_statistics_say_where_the_time_went(served: Served) -> None:
    served.infer({"inputs": [tensor()]})
    (said,) = json.loads(served.ask("GET", "/v2/models/fashion/stats")[2])["model_stats"]
    times = said["inference_stats"]
    assert said["inference_count"] == times["success"]["count"] == times["compute_infer"]["count"] > 0
    assert 0 < times["compute_infer"]["ns"] + times["queue"]["ns"] <= times["success"]["ns"]
    assert set(times["fail"]) == {"count", "ns"} and said["last_inference"] > 0


def test_a_body_may_come_in_chunks_and_be_followed_by_an_empty_line(served: Served) -> None:
    body = json.dumps({"id": "c", "inputs": [tensor()]}).encode()
    pieces = (b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:90], body[90:]))
              + b"0\r\nTrailer: x\r\n\r\n")  # fmt: skip
    head = b"POST /v2/models/fashion/infer HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
    last = b"GET /v2/health/live HTTP/1.1\r\nConnection: close\r\n\r\n"
    got = served.raw(b"\r\n\r\n" + head + pieces + b"\r\n" + last)
    assert got.count(b"HTTP/1.1 200 OK") == 2 and b'"id":"c"' in got


def test_numbers_that_json_has_no_word_for_are_asked_for_in_binary(served: Served) -> None:
    wrong = [3e38] * FEATURES
    status, said = served.infer({"inputs": [tensor(data=wrong)]})
    assert status == 400 and "NaN or infinity, which JSON cannot carry: ask for binary data" in said["error"]
    head = {"inputs": [tensor(data=wrong)], "parameters": {"binary_data_output": True}}
    status, _, body = served.ask("POST", "/v2/models/fashion/infer", json.dumps(head).encode())
    assert status == 200 and not all(map(math.isfinite, struct.unpack(f"<{CLASSES}f", body[-4 * CLASSES :])))


@pytest.mark.parametrize("words", [{"deadline_ms": 1e-4}, {"timeout": 0.01}])
def test_what_is_too_late_is_dropped(served: Served, words: dict[str, float]) -> None:
    status, said = served.infer({"inputs": [tensor()], "parameters": words})
    assert status == 504 and "deadline" in said["error"]


@pytest.mark.parametrize("words", [{"deadline_ms": 0}, {"deadline_ms": "soon"}, {"timeout": -1}, {"deadline_ms": True}])
def test_a_deadline_that_is_none_is_refused(served: Served, words: dict[str, object]) -> None:
    assert served.infer({"inputs": [tensor()], "parameters": words})[0] == 400


def test_half_open_connections_lock_nobody_out(served: Served) -> None:
    with contextlib.ExitStack() as opened:
        for number in range(64):
            sock = opened.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=60))
            sock.sendall(b"" if number % 2 else b"POST /v2/models/fashion/infer HTTP/1.1\r\nContent-Length: 9\r\n\r\n")

        def answered() -> bool:
            try:
                return served.ask("GET", "/v2/health/live")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        # Bounded by how long a connection may be silent, not by the 30 s of before: the number only ends a broken test.
        until(answered, "somebody else is answered", 15)


def test_shared_memory_is_not_supported(served: Served) -> None:
    status, said = served.infer({"inputs": [tensor(parameters={"shared_memory_region": "r"})]})
    assert status == 501 and "shared memory" in said["error"]


def test_binary_bytes_that_belong_nowhere_are_refused(served: Served) -> None:
    head = json.dumps({"inputs": [tensor()]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    status, _, body = served.ask("POST", "/v2/models/fashion/infer", head + b"more", headers)
    assert status == 400 and b"belong to no input" in body
    status, _, _ = served.ask(
        "POST", "/v2/models/fashion/infer", head, {"Inference-Header-Content-Length": str(len(head) + 1)}
    )
    assert status == 400


def test_a_refused_question_is_counted_and_is_no_error_of_the_model(served: Served) -> None:
    served.worker.served()
    served.infer({})
    served.infer({"inputs": [tensor()]})
    counted = served.worker.served()
    assert (counted.requests, counted.errors, counted.latency.count) == (2, 0, 1)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v2\r\n\r\n", 400),
        (b"GET /v2 HTTP/2.0\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", 400),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: -3\r\n\r\n", 400),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 67108865\r\n\r\n", 413),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v2 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4000001\r\n", 413),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nA: " + b"b" * 70_000, 431),
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(served: Served, sent: bytes, status: int) -> None:
    got = served.raw(sent)
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in got and b'{"error":' in got


def test_a_body_that_ends_too_early_gets_no_answer(served: Served) -> None:
    assert served.raw(b"POST /v2/models/fashion/infer HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}") == b""


def test_requests_in_one_packet_are_answered_one_after_the_other(served: Served) -> None:
    one = b"GET /v2/health/live HTTP/1.1\r\n\r\n"
    got = served.raw(one + one + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + one)
    assert got.count(b"HTTP/1.1 200 OK") == 3


def test_a_client_that_asks_first_whether_to_send_is_told_to(served: Served) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as sock:
        head = f"POST /v2/models/fashion/infer HTTP/1.1\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_connections_beyond_the_limit_are_told_503_and_the_rest_go_on(served: Served) -> None:
    one = b"GET /v2/health/live HTTP/1.1\r\n\r\n"

    def status(sock: socket.socket) -> bytes:
        sock.sendall(one)
        got = b""
        while b"}" not in got:
            got += sock.recv(65536)
        return got[9:12]

    with contextlib.ExitStack() as opened:

        def connect() -> socket.socket:
            return opened.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=60))

        # Connections of tests before may still be closing: what counts is that some are refused and none is lost.
        told = [(each, status(each)) for each in (connect() for _ in range(70))]
        assert {word for _, word in told} == {b"200", b"503"}
        assert all(status(each) == b"200" for each, word in told if word == b"200")


def test_many_clients_at_once_each_get_their_own_answer(served: Served) -> None:
    wrong: list[object] = []

    # Connections of tests before may still be closing.
    until(lambda: served.ask("GET", "/v2/health/live")[0] == 200, "there is room")

    def client(number: int) -> None:
        image = [float(number * i % 7) for i in range(FEATURES)]
        alone = served.infer({"inputs": [tensor(data=image)]})
        for _ in range(20):
            again = served.infer({"id": str(number), "inputs": [tensor(data=image)]})
            if again[0] != 200 or again[1]["id"] != str(number) or again[1]["outputs"] != alone[1]["outputs"]:
                wrong.append(again)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert wrong == []
