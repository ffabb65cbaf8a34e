"""Remote hands from the API to a real agent and back: signed, in pieces, kept; many devices at once; and the commands for people."""

import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_agent import logbook
from edgefleet_agent.log import LOG
from edgefleet_agent.rules.pieces import cut
from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import MAX_PIECE_BYTES, DeviceState, Reply
from edgefleet_protocol.topics import Topics
from edgefleet_server.app import Server
from edgefleet_server.commands import device as device_command
from edgefleet_server.commands import group as group_command
from edgefleet_server.commands import region as region_command
from edgefleet_server.commands import rollout as rollout_command
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.store import pieces
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.device import DEVICE, FLEET, assign, fleet, package, proven
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import ScriptedDevice, eventually

from .conftest import MakeServer
from .test_commands import Captured, Running, running

assert running  # a fixture


class Between:
    """A server's commands go to a fake device with the real agent in it, and what it says goes to the server."""

    def __init__(self, server: Server, repo: FakeRepository) -> None:
        self.server = server
        self.device, self.hub = fleet()
        self.device.clock.wall = server.clock.now()
        public = repo.online.public("commands")
        self.ours = {
            "keyid": public.keyid,
            "keytype": public.keytype,
            "scheme": public.scheme,
            "public": public.keyval["public"],
        }
        release = package(1)
        self.hub.publish(release)
        self.hub.roll_out(assign(release))
        self.device.boot().run(proven(release))
        self.hub.stamp(keys=[self.ours])
        self.device.run(lambda it: [key.keyid for key in it.agent.store.facts.trust.command_keys] == [public.keyid])
        self.read = 0
        server.commander._publish = self._to_device  # type: ignore[method-assign]
        server.commander._connected = lambda: True  # type: ignore[method-assign]
        self.back()

    def _to_device(self, topic: str, envelope: bytes) -> None:
        self.device.broker.publish(Topics(FLEET).of_device(DEVICE, "command"), envelope)

    def back(self) -> None:
        """Hand over what the device said."""
        state = self.device.broker.retained[Topics(FLEET).of_device(DEVICE, "state")]
        replies = self.device.broker.payloads("/reply")
        rows: list[tuple[Any, bytes]] = [("state", state), *(("reply", data) for data in replies[self.read :])]
        self.read = len(replies)
        topics = self.server.topics
        self.server.router.handle(
            [Incoming(topics.of_device(DEVICE, kind), data, False, 1, 1, 1) for kind, data in rows]
        )

    def run(self, turns: int = 3) -> None:
        self.device.run(turns=turns)
        self.back()


@pytest.fixture
def between(make_server: MakeServer, repo: FakeRepository) -> Iterator[Between]:
    server = make_server(1)
    yield Between(server, repo)
    server.database.close()


def ask(server: Server, method: str, path: str, **body: Any) -> Any:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)
    return client.request(method, path, json=body if method != "GET" else None)


def order(between: Between, action: str, **arguments: str) -> dict[str, Any]:
    answer = ask(between.server, "POST", "/v1/commands", devices=[DEVICE], action=action, arguments=arguments)
    assert answer.status_code == 201, answer.json()
    (row,) = answer.json()["sent"]
    assert isinstance(row, dict)
    return row


def result(between: Between, row: dict[str, Any]) -> Any:
    return ask(between.server, "GET", f"/v1/devices/{DEVICE}/commands/{row['id']}/answer").json()


def test_a_diagnosis_is_ordered_made_cut_put_together_and_kept(between: Between) -> None:
    book = logbook.keep()
    try:
        noise = random.Random(7)
        for _ in range(400):
            LOG.warning("%s", noise.randbytes(190).hex())
        logs = order(between, "logs", lines="400")
        diag = order(between, "diag")
        between.run()
    finally:
        LOG.removeHandler(book)
    assert sum(1 for reply in between.device.replies() if reply.number == logs["number"]) > 1, "it takes several pieces"
    shown = result(between, logs)
    assert (shown["status"], shown["text"]) == ("done", "the last 400 lines")
    assert len(shown["answer"].splitlines()) == 400 and shown["data_bytes"] > MAX_PIECE_BYTES
    assert "== explain" in result(between, diag)["answer"]
    listed = ask(between.server, "GET", f"/v1/devices/{DEVICE}/commands").json()
    rows = listed["items"] if isinstance(listed, dict) else listed
    assert [row["action"] for row in rows] == ["diag", "logs"] and all("answer" not in row for row in rows)


def test_a_rollback_and_a_pin_name_who_ordered_them_whatever_is_claimed(between: Between) -> None:
    second = package(2)
    between.hub.publish(second)
    between.hub.roll_out(assign(second))
    between.hub.stamp(keys=[between.ours])
    between.device.run(proven(second))
    between.back()
    row = order(between, "rollback", by="somebody else", for_s="3600")
    between.run()
    assert result(between, row)["text"].startswith("fashion/1 is pinned by a person on this machine, by command")
    between.device.run(lambda it: it.serving() == "fashion/1")


def test_a_benchmark_is_at_work_until_it_is_done_and_its_numbers_are_kept(between: Between) -> None:
    row = order(between, "benchmark")
    between.device.turn()
    between.back()
    assert result(between, row)["status"] == "working"
    between.run(6)
    shown = result(between, row)
    assert shown["status"] == "done" and float(shown["facts"]["latency_p50_s"]) == 0.01
    assert shown["facts"]["variant"] == "small" and shown["answer"] is None


# --- pieces, as a device that went bad could send them


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    server = make_server(1)
    server.commander._publish = lambda topic, payload: None  # type: ignore[method-assign]
    server.commander._connected = lambda: True  # type: ignore[method-assign]
    for name, epoch in (("one", "e"), ("two", "e"), ("old", "")):
        say(server, name, epoch)
    yield server
    server.database.close()


def say(server: Server, name: str, epoch: str) -> None:
    state = DeviceState(
        device=name, session=1, boot="b", at_s=1.0, agent_version="0.1.0", command_epoch=epoch, region="eu-west"
    )
    tell(server, name, "state", encode(state))


def tell(server: Server, name: str, kind: Any, data: bytes) -> None:
    server.router.handle([Incoming(server.topics.of_device(name, kind), data, False, 1, 1, 1)])


def send(server: Server) -> dict[str, Any]:
    row: dict[str, Any] = ask(server, "POST", "/v1/commands", devices=["one"], action="diag").json()["sent"][0]
    return row


def shown(server: Server, row: dict[str, Any]) -> Any:
    return ask(server, "GET", f"/v1/devices/one/commands/{row['id']}/answer").json()


def piece(row: dict[str, Any], data: bytes, place: int, count: int) -> bytes:
    return encode(
        Reply(device="one", number=row["number"], epoch="e", ok=True, text="here", data=data, piece=place, pieces=count)
    )


def test_pieces_come_in_any_order_and_twice_and_are_whole_only_when_all_are_there(server: Server) -> None:
    row, packed = send(server), zlib.compress(b"all of it")
    parts = [packed[:5], packed[5:9], packed[9:]]
    for place in (2, 0, 0):
        tell(server, "one", "reply", piece(row, parts[place], place, 3))
    assert (shown(server, row)["status"], shown(server, row)["answer"]) == ("waiting", None)
    tell(server, "one", "reply", piece(row, parts[1], 1, 3))
    assert (shown(server, row)["status"], shown(server, row)["answer"]) == ("done", "all of it")
    tell(server, "one", "reply", piece(row, parts[1], 1, 3))
    assert shown(server, row)["answer"] == "all of it" and server.counters.get("reply_stale") == 1
    with server.database.read() as connection:
        assert pieces.count(connection, row["id"]) == 0


@pytest.mark.parametrize("data", [b"no zlib at all", zlib.compress(b"x" * 3_000_000), zlib.compress(b"cut short")[:-4]])
def test_a_long_answer_that_cannot_be_unpacked_or_is_a_bomb_is_a_failure_and_not_kept(
    server: Server, data: bytes
) -> None:
    row = send(server)
    tell(server, "one", "reply", piece(row, data, 0, 1))
    found = shown(server, row)
    assert (found["status"], found["answer"], found["data_bytes"]) == ("failed", None, 0)
    assert found["text"] == "here (its long part could not be unpacked)"


def test_of_one_device_only_the_newest_long_answers_are_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "KEPT_ANSWERS", 2)
    rows = [send(server) for _ in range(4)]
    for row in rows:
        tell(server, "one", "reply", piece(row, zlib.compress(b"long"), 0, 1))
    assert [shown(server, row)["answer"] for row in rows] == [None, None, "long", "long"]
    assert all(shown(server, row)["text"] == "here" for row in rows)


def test_an_order_to_many_says_to_whom_it_went_and_why_not_to_the_others_and_sends_nothing_to_a_wrong_list(
    server: Server,
) -> None:
    answer = ask(server, "POST", "/v1/commands", devices=["one", "nobody"], action="ping")
    assert answer.status_code == 404 and "nobody is known, so nothing was done for any of 2" in answer.json()["detail"]
    assert ask(server, "GET", "/v1/devices/one/commands").json() in ([], {"items": [], "next": None})
    answer = ask(server, "POST", "/v1/commands", group="region=eu-west", action="ping").json()
    assert [row["device"] for row in answer["sent"]] == ["one", "two"]
    (refused,) = answer["refused"]
    assert refused["device"] == "old" and "too old for them" in refused["why"]
    assert ask(server, "POST", "/v1/commands", group="tag=none", action="ping").status_code == 409
    assert ask(server, "GET", "/v1/devices/one/commands/999/answer").status_code == 404


def test_a_device_that_is_forgotten_leaves_no_pieces(server: Server) -> None:
    row = send(server)
    tell(server, "one", "reply", piece(row, b"half", 0, 2))
    assert ask(server, "DELETE", "/v1/devices/one?force=true").status_code == 200
    with server.database.read() as connection:
        assert pieces.count(connection, row["id"]) == 0


# --- for people


def test_a_person_sets_a_region_groups_devices_and_lays_hands_on_them(
    running: Running, broker: BrokerProcess, tmp_path: Path, capsys: Captured
) -> None:
    there = ["--server", running.url]

    def said(run: Any, *command: str) -> tuple[int, str]:
        code = run([*command, *there])
        out = capsys.readouterr()
        return code, out.out + out.err

    file = tmp_path / "regions.toml"
    file.write_text("[regions.eu-west.policy]\nobjective = 'latency'\n[regions.eu-west.telemetry]\nkeep_days = 7\n")
    code, text = said(region_command, "apply", str(file), "--plan")
    assert code == 0 and "eu-west: version 1 would be what holds" in text
    assert "policy.objective: not set -> latency" in text and "devices hear of it with the first rollout" in text
    assert said(region_command, "apply", str(file), "--why", "quicker")[0] == 0
    code, text = said(region_command, "show", "eu-west", "--toml")
    assert tomllib.loads(text) == tomllib.loads(file.read_text())
    assert "version 1, by a person on this machine: quicker" in said(region_command, "show", "eu-west")[1]
    file.write_text("[regions.eu-west.policy]\ndownload = 'in-window'\n")
    code, text = said(region_command, "apply", str(file))
    assert code == 2 and "there is no window" in text
    file.write_text("policy = 1\n")
    assert said(region_command, "apply", str(file))[0] == 2
    assert said(region_command, "apply", str(tmp_path / "none.toml"))[0] == 3
    assert said(region_command, "show", "mars")[0] == 3
    assert "quicker" in said(region_command, "history", "eu-west")[1]
    assert "nothing differs" in said(region_command, "diff", "eu-west")[1]
    assert "eu-west: frozen" in said(region_command, "freeze", "eu-west", "--why", "election")[1]
    assert "a person on this machine: election" in said(region_command, "list")[1]
    assert said(region_command, "unfreeze", "--all")[1].startswith("eu-west: no longer frozen")
    assert said(region_command, "freeze")[0] == 2

    with ScriptedDevice(broker.port, "pi-one", "eu-west"), ScriptedDevice(broker.port, "pi-two", "eu-west"):
        eventually("known", lambda: "pi-two" in said(device_command, "list")[1])
        code, text = said(group_command, "save", "pis", "class=pi4 status=online")
        assert code == 0 and "a rollout needs the list of its devices" in text
        assert said(group_command, "show", "pis") == (0, "pi-one\npi-two\n")
        assert "class=pi4 status=online" in said(group_command, "list")[1]
        assert said(group_command, "save", "bad", "door")[0] == 2
        assert said(device_command, "tag", "add", "door,lab", "--group", "pis")[1].startswith(
            "pi-one, pi-two: tagged door, lab"
        )
        assert said(device_command, "move", "pi-one", "nobody", "--region", "ap-south")[0] == 3
        assert said(device_command, "move", "pi-one", "--region", "ap-south")[1].startswith("pi-one: moved to ap-south")
        assert said(device_command, "move", "--region", "ap-south")[0] == 2
        assert "1 were so already" not in said(device_command, "freeze", "--group", "tag=door", "--why", "x")[1]
        assert "by a person on this machine: x: nothing new begins" in said(device_command, "show", "pi-two")[1]
        assert said(device_command, "unfreeze", "--group", "status=frozen")[0] == 0
        code, text = said(device_command, "logs", "pi-one")
        assert code == 1 and "too old for them" in text
        assert said(device_command, "pin", "pi-one", "--for", "soon")[0] == 2
        assert said(device_command, "result", "pi-one")[1].startswith("No command was sent")
        code, text = said(device_command, "decommission", "pi-two", "--why", "burnt")
        assert code == 0 and "3 retained topics are being cleared" in text
        assert "burnt" in said(device_command, "gone")[1]
        assert said(device_command, "readmit", "pi-two")[0] == 0
        assert said(group_command, "drop", "pis")[0] == 0
    assert said(group_command, "list", "--json")[1] == "[]\n"
    assert json.loads(said(region_command, "list", "--json")[1])[0]["region"] == "ap-south"


@given(st.data())
def test_whatever_the_order_of_pieces_a_long_answer_is_what_was_said(data: st.DataObject) -> None:
    """A law of the two ends: cut on the device, put together on the server."""
    text = data.draw(st.text(min_size=1, max_size=200)) * data.draw(st.integers(1, 50))
    parts = cut(text)
    order = data.draw(st.permutations(range(len(parts))))
    came = {place: parts[place] for place in (*order, *order[:1])}
    assert pieces.unpack(b"".join(came[place] for place in sorted(came))) == text.encode("utf-8", "replace").decode()


def test_a_rollout_for_a_group_is_for_its_devices_only(
    running: Running, broker: BrokerProcess, capsys: Captured
) -> None:
    there = ["--server", running.url, "--json"]

    def said(run: Any, *command: str) -> Any:
        assert run([*command, *there]) == 0, command
        return json.loads(capsys.readouterr().out)

    with ScriptedDevice(broker.port, "pi-one", "eu-west"), ScriptedDevice(broker.port, "pi-two", "eu-west"):
        eventually("known", lambda: len(said(device_command, "list")) == 2)
        said(device_command, "tag", "add", "door", "pi-one")
        (by_tag,) = said(rollout_command, "plan", "fashion/1", "--group", "region=eu-west tag=door")["regions"]
        (by_name,) = said(rollout_command, "plan", "fashion/1", "--region", "eu-west", "--group", "id=pi-two")[
            "regions"
        ]
        assert [row["device"] for row in by_tag["devices"]] == ["pi-one"]
        assert [row["device"] for row in by_name["devices"]] == ["pi-two"]
        code = rollout_command(["plan", "fashion/1", "--group", "tag=none", *there])
        assert code == 5 and "no device matches tag=none" in capsys.readouterr().err
