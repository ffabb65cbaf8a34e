"""A worker serves on sockets that it inherited, and hands them on without losing a request."""

import http.client
import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet_agent.seams import WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher, ProcessWorker
from edgefleet_protocol.sketch import merge
from tests.fakes.served import FEATURES, ROGUE, SAMPLES, ask_golden, ready, rogue, until, write_model


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[ProcessLauncher]:
    """The real thing."""
    made = ProcessLauncher(tmp_path / "run")
    yield made
    made.close()


@pytest.fixture
def rogues(tmp_path: Path) -> Iterator[ProcessLauncher]:
    """The real thing, with runtimes that misbehave."""
    made = ProcessLauncher(tmp_path / "run", command=(sys.executable, str(ROGUE)))
    yield made
    made.close()


def serving(launcher: ProcessLauncher, spec: WorkerSpec) -> ProcessWorker:
    """Start a worker that takes connections."""
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    return worker


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


def ask(connection: http.client.HTTPConnection, spec: WorkerSpec) -> tuple[int, dict[str, object]]:
    """Send one request as plain JSON; return its status and body."""
    image = list(struct.unpack(f"<{FEATURES}f", (spec.golden_folder / "golden/image.bin").read_bytes()[: FEATURES * 4]))
    body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, FEATURES], "data": image}]}
    connection.request("POST", f"/v2/models/{spec.model}/infer", json.dumps(body))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_golden_answers_come_through_the_serving_socket(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    worker = serving(launcher, spec)
    assert ask_golden(launcher, spec, 30.0) is None
    served = worker.served()
    assert (served.requests, served.errors) == (SAMPLES, 0)
    assert served.latency.count == SAMPLES
    # The confidence of an answer is noted once it has been sent, so the last one may still be on its way.
    noted = [served.confidence] if served.confidence is not None else []

    def all_noted() -> bool:
        more = worker.served()
        assert more.requests == 0
        noted.extend([more.confidence] if more.confidence is not None else [])
        return sum(sketch.count for sketch in noted) == SAMPLES

    until(all_noted, "the confidence of each answer")
    top = merge(noted).quantile(1.0)
    assert top is not None and 0.25 < top <= 1.03
    assert served.memory_bytes is not None and served.memory_bytes > 10e6


def test_golden_answers_of_another_release_are_not_taken_for_this_one(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    serving(launcher, write_model(tmp_path / "one"))
    why = ask_golden(launcher, write_model(tmp_path / "two", release="fashion/2", seed=2), 30.0)
    assert why is not None and why.startswith("fashion/1 (")


def test_golden_answers_that_differ_are_told(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    serving(launcher, spec)
    other = write_model(tmp_path / "other", seed=2)
    why = ask_golden(launcher, replace(spec, golden_folder=other.golden_folder), 30.0)
    assert why is not None and "differs by" in why


def test_asking_where_nobody_listens_says_so(launcher: ProcessLauncher, tmp_path: Path) -> None:
    why = ask_golden(launcher, write_model(tmp_path), 5.0)
    assert why is not None and why.startswith("fashion.sock cannot be asked")


def test_asking_a_model_that_hangs_ends_at_the_deadline(rogues: ProcessLauncher, tmp_path: Path) -> None:
    spec = rogue(write_model(tmp_path), "hangs")
    serving(rogues, spec)
    assert ask_golden(rogues, spec, 1.0) == "fashion.sock gave no golden answers within 1.0 s"


def test_both_sockets_answer_and_the_port_is_written_down(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    serving(launcher, spec)
    port = int((tmp_path / "run/fashion.port").read_text())
    assert port == launcher.port("fashion")
    for connection in (
        Unix(launcher.socket_path("fashion")),
        http.client.HTTPConnection("127.0.0.1", port, timeout=60),
    ):
        status, body = ask(connection, spec)
        assert status == 200
        assert body["parameters"] == {
            "release": "fashion/1",
            "variant": "small",
            "variant_sha256": spec.variant_sha256,
        }
        connection.close()


def test_the_port_is_the_same_after_the_agent_starts_again(tmp_path: Path) -> None:
    ports = []
    for _ in range(2):
        launcher = ProcessLauncher(tmp_path)
        launcher.sockets("fashion")
        ports.append(launcher.port("fashion"))
        launcher.close()
    assert ports[0] == ports[1]
    assert (tmp_path / "fashion.sock").exists()


def test_two_models_share_the_device(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        launcher = ProcessLauncher(tmp_path, port_base=taken.getsockname()[1])
        launcher.sockets("fashion")
        launcher.sockets("faces")
        assert len({taken.getsockname()[1], launcher.port("fashion"), launcher.port("faces")}) == 3
        launcher.close()


def test_a_killed_worker_is_noticed_and_told(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = serving(launcher, write_model(tmp_path))
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: worker.poll() == "dead", "the death is noticed")
    assert worker.why_dead() == "killed by SIGKILL: by the kernel for want of memory, or by hand"
    served = worker.served()
    assert (served.requests, served.memory_bytes) == (0, None)


def test_a_model_that_cannot_be_opened_is_a_death_with_its_reason(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    spec.model_path.unlink()
    worker = launcher.start(spec)
    until(lambda: worker.poll() == "dead", "the worker gives up")
    assert worker.why_dead() == "model.onnx cannot be read: No such file or directory"


def test_connections_that_wait_outlive_a_worker_and_are_answered_by_the_next(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    spec = write_model(tmp_path)
    first = serving(launcher, spec)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: first.poll() == "dead", "the death is noticed")
    answers: list[int] = []
    connection = Unix(launcher.socket_path("fashion"))
    connection.connect()  # in the queue: nobody is there to take it
    asking = threading.Thread(target=lambda: answers.append(ask(connection, spec)[0]))
    asking.start()
    serving(launcher, spec)
    asking.join(60)
    assert answers == [200]


def test_a_hung_worker_yields_zeros_and_is_killed_when_it_must_stop(rogues: ProcessLauncher, tmp_path: Path) -> None:
    worker = serving(rogues, write_model(tmp_path))
    os.kill(worker.pid, signal.SIGSTOP)
    assert worker.served().requests == 0
    worker.stop(0.0)
    until(lambda: worker.poll() == "dead", "it is killed")
    assert worker.why_dead() == "killed: it did not end when it was told to"


def test_counts_that_come_late_are_in_the_next_window(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    worker = serving(launcher, spec)
    assert ask_golden(launcher, spec, 30.0) is None
    os.kill(worker.pid, signal.SIGSTOP)
    assert worker.served().requests == 0
    os.kill(worker.pid, signal.SIGCONT)
    total = 0

    def counted() -> bool:
        nonlocal total
        total += worker.served().requests
        return total >= SAMPLES

    until(counted, "the late count comes")
    assert total == SAMPLES


def test_what_is_in_flight_is_finished_before_a_worker_ends(rogues: ProcessLauncher, tmp_path: Path) -> None:
    spec = rogue(write_model(tmp_path), "slow")
    worker = serving(rogues, spec)
    answers: list[int] = []
    connection = Unix(rogues.socket_path("fashion"))
    ask(connection, spec)
    asking = threading.Thread(target=lambda: answers.append(ask(connection, spec)[0]))
    asking.start()
    until(lambda: worker.served().requests >= 1, "the first is counted")
    worker.pause()
    worker.stop(30.0)
    asking.join(60)
    assert answers == [200]
    until(lambda: worker.poll() == "dead", "it ends once nothing is in flight")
    assert worker.why_dead() == "ended with exit code 0"


def test_a_connection_without_a_question_is_closed_when_the_time_to_drain_is_over(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    spec = write_model(tmp_path)
    worker = serving(launcher, spec)
    connection = Unix(launcher.socket_path("fashion"))
    assert ask(connection, spec)[0] == 200
    assert connection.sock is not None
    worker.stop(0.1)
    assert connection.sock.recv(1) == b""
    until(lambda: worker.poll() == "dead", "it ends")


def test_an_agent_that_ends_waits_for_answers_and_not_for_those_who_ask_nothing(
    rogues: ProcessLauncher, tmp_path: Path
) -> None:
    spec = rogue(write_model(tmp_path), "slow")
    worker = serving(rogues, spec)
    answers: list[int] = []
    connection, idle = Unix(rogues.socket_path("fashion")), Unix(rogues.socket_path("fashion"))
    ask(connection, spec)
    ask(idle, spec)
    asking = threading.Thread(target=lambda: answers.append(ask(connection, spec)[0]))
    asking.start()
    until(lambda: worker.served().requests >= 2, "both are counted")
    worker.stop(3600.0)
    rogues.finish(3600.0)
    asking.join(60)
    assert answers == [200] and worker.why_dead() == "ended with exit code 0"
    assert idle.sock is not None and idle.sock.recv(1) == b""


def test_a_worker_dies_with_its_agent(tmp_path: Path) -> None:
    write_model(tmp_path)
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from edgefleet_agent.serve.launcher import ProcessLauncher
from tests.fakes.served import ready, write_model
launcher = ProcessLauncher(Path({str(tmp_path / "run")!r}))
worker = launcher.start(write_model(Path({str(tmp_path)!r})))
ready(worker)
print(worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -9, done.stderr
    pid = int(done.stdout)
    until(lambda: not _runs(pid), "the worker is gone")


def test_a_worker_knows_no_secret_of_the_agents_environment(
    launcher: ProcessLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFLEET_TEST_SECRET", "hunter2")
    worker = serving(launcher, write_model(tmp_path))
    assert b"hunter2" not in Path(f"/proc/{worker.pid}/environ").read_bytes()


def test_a_worker_inherits_nothing_but_its_sockets(launcher: ProcessLauncher, tmp_path: Path) -> None:
    secret = (tmp_path / "secret").open("w")
    os.set_inheritable(secret.fileno(), True)
    worker = serving(launcher, write_model(tmp_path))
    opened = [str(path.readlink()) for path in Path(f"/proc/{worker.pid}/fd").iterdir()]
    assert str(tmp_path / "secret") not in opened
    assert sum(name.startswith("socket:") for name in opened) == 7
    # two listeners, two ends towards the gateway, control, and a pair for signals
    secret.close()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_twenty_switches_lose_no_request(launcher: ProcessLauncher, tmp_path: Path) -> None:
    specs = [write_model(tmp_path / "one"), write_model(tmp_path / "two", release="fashion/2", seed=2)]
    worker = serving(launcher, specs[0])
    port = launcher.port("fashion")
    stop = threading.Event()
    failures: list[str] = []
    answered: dict[str, int] = {}

    def client(connect: Callable[[], http.client.HTTPConnection], kept: bool) -> None:
        connection = connect()
        while not stop.is_set():
            try:
                status, body = ask(connection, specs[0])
                parameters = body.get("parameters")
                assert status == 200 and isinstance(parameters, dict), body
                answered[parameters["release"]] = answered.get(parameters["release"], 0) + 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                failures.append(repr(error))
                connection.close()
            if not kept:
                connection.close()
                connection = connect()
        connection.close()

    def unix() -> http.client.HTTPConnection:
        return Unix(launcher.socket_path("fashion"))

    def tcp() -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    clients = [threading.Thread(target=client, args=(how, kept)) for how in (unix, tcp) for kept in (True, False)]
    for each in clients:
        each.start()
    for number in range(1, 21):
        spec = specs[number % 2]
        successor = launcher.start(spec)
        ready(successor)
        successor.accept()
        worker.pause()
        assert ask_golden(launcher, spec, 30.0) is None
        worker.stop(10.0)
        before = sum(answered.values())
        until(lambda before=before: sum(answered.values()) > before + 8, "clients go on")  # type: ignore[misc]
        worker = successor
    stop.set()
    for each in clients:
        each.join(60)
    assert failures == []
    assert answered["fashion/1"] > 50 and answered["fashion/2"] > 50


def test_a_paused_worker_can_take_over_again(launcher: ProcessLauncher, tmp_path: Path) -> None:
    old, new = write_model(tmp_path / "one"), write_model(tmp_path / "two", release="fashion/2", seed=2)
    first, second = serving(launcher, old), launcher.start(new)
    ready(second)
    second.accept()
    first.pause()
    assert ask_golden(launcher, new, 30.0) is None
    first.accept()
    second.pause()
    assert ask_golden(launcher, old, 30.0) is None
