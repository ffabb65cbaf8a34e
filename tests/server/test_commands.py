"""The commands, against a server in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from edgefleet_server.client import Api
from edgefleet_server.commands import device, rollout, server
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.package import make_release, write_package
from tests.fakes.repository import FakeRepository, publish_release
from tests.fakes.scripted_device import ScriptedDevice, eventually

from .test_broker_faults import Reader

Captured = pytest.CaptureFixture[str]


class Running:
    """`edgefleet server run` as a process."""

    def __init__(self, folder: Path, repo: FakeRepository, broker: BrokerProcess) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "server.toml"
        config.write_text(
            f"repository = {json.dumps(str(repo.folder))}\nkeys = {json.dumps(str(repo.keys_folder))}\ndata = 'data'\n"
            f"[broker]\nport = {broker.port}\nopen = true\n[http]\nport = {self.port}\nopen = true\n[rollouts]\ntick_s = 0.1\n"
        )
        code = f"import sys; from edgefleet_server.commands import server; sys.exit(server(['run', '--config', {str(config)!r}]))"
        environment = {**os.environ, "EDGEFLEET_ONLINE_PASSPHRASE_FILE": str(repo.passphrase_file)}
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log)
        eventually("the server answers", self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(httpx.get(f"{self.url}/healthz", trust_env=False).json()["broker_connected"])
        except httpx.HTTPError:
            return False

    def session(self) -> int:
        """How many times the server has connected to its broker."""
        return self.log.read_text().count("connected to the broker")

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", trust_env=False).json()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def running(tmp_path: Path, repo: FakeRepository, broker: BrokerProcess) -> Iterator[Running]:
    running = Running(tmp_path, repo, broker)
    yield running
    running.process.kill()
    running.process.wait()


def test_a_person_plans_starts_and_watches_a_rollout(
    running: Running, broker: BrokerProcess, tmp_path: Path, capsys: Captured
) -> None:
    there = ["--server", running.url]

    def said(command: list[str], run=rollout) -> tuple[int, str]:  # type: ignore[no-untyped-def]
        code = run([*command, *there])
        return code, capsys.readouterr().out

    assert said(["list"]) == (
        0,
        "No rollout was started yet. See what one would do: edgefleet rollout plan MODEL/NUMBER\n",
    )
    assert said(["plan", "fashion/1", "--region", "eu-west"])[0] == 5
    with ScriptedDevice(broker.port, "pi-one", "eu-west"):
        eventually("known", lambda: "pi4" in said(["list"], device)[1])
        code, text = said(["plan", "fashion/1", "--region", "eu-west", "--stages", "50,100"])
        assert code == 0
        assert "pi-one, from stage" in text and "objective accuracy: fp32" in text
        code, text = said(["start", "fashion/1", "--region", "eu-west", "--stages", "50,100"])
        assert code == 0 and text.startswith("fashion/1 started in eu-west for 1 device\n")
        eventually("complete", lambda: "complete" in said(["list"])[1])
        code, text = said(["watch", "eu-west"])
        assert code == 0 and "fashion/1 in eu-west complete; stage 2/2 (100 %); 1 proven" in text
        code, text = said(["show", "eu-west"])
        assert code == 0 and "pi-one" in text and "proven" in text and "started it for 1 device" in text
        code, text = said(["compare", "eu-west"])
        assert code == 0 and "its gate does not ask" in text
        assert said(["next", "eu-west"])[0] == 5, "it is complete"
        assert said(["wishes"]) == (0, "Every device finds a variant that fits.\n")
        assert said(["measured", "--out", str(tmp_path / "measured.json")])[0] == 0
        assert json.loads((tmp_path / "measured.json").read_text())["format"] == 1
        assert said(["measured"])[0] == 0
        code, text = said(["show", "eu-west", "--json"])
        assert json.loads(text)[0]["counts"]["proven"] == 1
        code, text = said(["show", "pi-one"], device)
        assert code == 0 and "fashion: runs fashion/1 fp32, proven" in text
        assert said(["assign", "pi-one", "--region", "ap-south", "--tag", "lab"], device)[0] == 0
        assert json.loads(said(["show", "pi-one", "--json"], device)[1])["tags"] == ["lab"]
        assert said(["start", "fashion/1", "--region", "eu-west"])[0] == 5, "it runs there already, and nobody is left"
    assert running.end() == 0, running.log.read_text()


def test_a_server_ends_although_somebody_watches(running: Running) -> None:
    stream = Api(running.url).live()
    assert next(stream).event == "ready"
    assert running.end() == 0


def test_a_change_of_interface_is_refused_until_it_is_accepted(
    running: Running, broker: BrokerProcess, repo: FakeRepository, tmp_path: Path, capsys: Captured
) -> None:
    made, files = make_release("fashion", ("fp32",), seed=3)
    labels = tuple(reversed(made.interface.labels))
    write_package(tmp_path / "other", replace(made, interface=replace(made.interface, labels=labels)), files)
    there = ["--region", "eu-west", "--server", running.url]
    with ScriptedDevice(broker.port, "pi-one", "eu-west"):
        eventually("known", lambda: "eu-west" in [row["region"] for row in running.get("/v1/devices")["items"]])
        assert rollout(["start", "fashion/1", *there]) == 0
        other = publish_release(repo, tmp_path / "other")
        eventually("listed", lambda: other in [row["release"] for row in running.get("/v1/releases")["items"]])
        capsys.readouterr()
        assert rollout(["plan", other, *there]) == 5
        words = f"{other} changes the interface in eu-west: against fashion/1, label 0 was "
        assert f"It would be refused: {words}" in capsys.readouterr().out
        assert rollout(["start", other, *there, "--force"]) == 5
        err = capsys.readouterr().err
        assert words in err and "--accept-interface-change" in err
        assert rollout(["plan", other, *there, "--accept-interface-change"]) == 0
        assert "It changes the interface, as accepted: against fashion/1, label 0" in capsys.readouterr().out
        assert rollout(["start", other, *there, "--accept-interface-change"]) == 0
        signed = repo.repository.rollout("eu-west")
        assert signed is not None and all(row.accept_interface_change for row in signed.assignments)


def test_exit_codes_tell_a_script_what_happened(running: Running, capsys: Captured) -> None:
    there = ["--server", running.url]
    cases = [
        (rollout, [], 2),
        (rollout, ["dance"], 2),
        (rollout, ["--help"], 0),
        (rollout, ["start", "fashion/1", "--stages", "x", *there], 2),
        (rollout, ["start", "fashion/9", *there], 3),
        (rollout, ["start", "fashion/1", *there], 5),
        (rollout, ["start", "fashion/1", "--max-failed", "140", *there], 2),
        (rollout, ["list", "--server", "nonsense"], 2),
        (rollout, ["show", "mars", *there], 3),
        (rollout, ["list", "--server", "http://127.0.0.1:1"], 7),
        (device, ["show", "nobody", *there], 3),
        (device, ["show", "../rollouts?x=", *there], 3),
        (device, ["show", "", *there], 3),
        (device, ["show", "a/b", *there], 3),
        (device, ["assign", "", "--region", "eu-west", *there], 3),
        (rollout, ["show", "", *there], 3),
        (rollout, ["pause", "eu-west/", *there], 3),
        (rollout, ["measured", "--out", "/nowhere/at/all.json", *there], 2),
        (device, ["list", *there], 0),
        (server, ["run", "--config", "/nowhere/server.toml"], 2),
        (server, ["run"], 2),
        (server, ["token"], 2),
        (device, ["command", "nobody", "ping", *there], 3),
        (device, ["command", "nobody", "ping", "model", *there], 2),
        (device, ["clear-alarm", "nobody", *there], 3),
        (device, ["list", "--ca", "/nowhere/ca.pem", *there], 2),
    ]
    for run, arguments, code in cases:
        assert run(arguments) == code, arguments
    said = capsys.readouterr()
    assert "exit codes: 0 done, 1 failed" in said.out
    assert "argument --max-failed: 140 is not from 0 to 100" in said.err
    assert "nothing is called 'a/b': a name is 1 to 64 of a-z" in said.err
    assert "/nowhere/at/all.json cannot be written: No such file or directory. Name a file" in said.err
    assert "'nonsense' is no server's address: write it as http://127.0.0.1:8300" in said.err


def test_a_server_that_cannot_start_says_why(
    running: Running, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, repo: FakeRepository
) -> None:
    monkeypatch.delenv("EDGEFLEET_PASSPHRASE_FILE", raising=False)
    monkeypatch.delenv("EDGEFLEET_ONLINE_PASSPHRASE_FILE", raising=False)
    config = str(tmp_path / "server.toml")
    assert server(["run", "--config", config]) == 2
    assert "set EDGEFLEET_ONLINE_PASSPHRASE_FILE" in capsys.readouterr().err
    monkeypatch.setenv("EDGEFLEET_ONLINE_PASSPHRASE_FILE", str(repo.passphrase_file))
    session = running.session()
    second = tmp_path / "second.toml"
    second.write_text(Path(config).read_text().replace("'data'", "'other'"))
    assert server(["run", "--config", str(second)]) == 1
    assert f"could not listen on 127.0.0.1:{running.port}" in capsys.readouterr().err
    assert server(["run", "--config", config]) == 1
    assert "another server runs with" in capsys.readouterr().err
    assert running.session() == session, "the first one kept its place at the broker"
    second.write_text(Path(config).read_text().replace(str(repo.folder), str(tmp_path / "nowhere")))
    assert server(["run", "--config", str(second)]) == 3
    assert "edgefleet trust init" in capsys.readouterr().err


def test_without_a_broker_an_order_says_that_it_goes_out_later(
    running: Running, broker: BrokerProcess, capsys: Captured
) -> None:
    there = ["--server", running.url]
    broker.kill()
    eventually("noticed", lambda: not httpx.get(f"{running.url}/healthz", trust_env=False).json()["broker_connected"])
    for run, command in (
        (rollout, ["start", "fashion/1", "--region", "eu-west", "--force"]),
        (device, ["assign", "pi-one", "--region", "eu-west"]),
    ):
        assert run([*command, *there]) == 0
        said = capsys.readouterr()
        assert "sent as soon as the broker is back" in said.err, said.out


def test_a_release_that_is_forced_where_it_runs_already_says_what_its_proof_is(
    running: Running, broker: BrokerProcess, capsys: Captured
) -> None:
    there = ["--server", running.url]
    with ScriptedDevice(broker.port, "pi-one", "eu-west"):

        def complete() -> bool:
            assert rollout(["list", *there]) == 0
            return "complete" in capsys.readouterr().out

        start = ["start", "fashion/1", "--region", "eu-west", *there]
        eventually("started", lambda: rollout(start) == 0)
        eventually("complete", complete)
        assert rollout(start) == 5
        capsys.readouterr()
        assert rollout([*start, "--force"]) == 0
        said = capsys.readouterr()
        assert "by force, although eu-west runs fashion/1 already" in said.out
        assert said.err == ""
        eventually("complete", complete)
        assert rollout(["show", "eu-west", *there]) == 0
        assert "runs fp32, as before this rollout" in capsys.readouterr().out


def test_a_device_that_never_was_is_forgotten_and_one_that_is_here_is_not(
    running: Running, broker: BrokerProcess, capsys: Captured
) -> None:
    there = ["--server", running.url]

    def said(*command: str) -> tuple[int, str]:
        code = device([*command, *there])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    assert said("list", "--region", "mars") == (
        3,
        "edgefleet device: there is no region mars. There are: eu-west, ap-south\n",
    )
    assert said("forget", "nobody")[0] == 3
    assert said("assign", "pi-onne", "--region", "eu-west")[0] == 0
    assert said("forget", "pi-onne") == (0, "pi-onne is forgotten\n")
    assert "pi-onne" not in said("list")[1]
    reader = Reader(broker.port)
    eventually("its assignment is cleared", lambda: not any("pi-onne" in topic for topic in reader.topics()))
    with ScriptedDevice(broker.port, "pi-one", "eu-west"):
        eventually("known", lambda: "pi4" in said("list")[1])
        code, text = said("forget", "pi-one")
        assert code == 5 and "end its agent first, or use force" in text
    assert said("forget", "pi-one", "--force") == (0, "pi-one is forgotten\n")
    eventually("its state is cleared", lambda: not any("pi-one" in topic for topic in reader.topics()))
    assert "No device was heard of yet" in said("list")[1]
    health = httpx.get(f"{running.url}/healthz", trust_env=False).json()
    assert not [name for name in health["counters"] if name.endswith(("_refused", "_faults"))]
