"""Alerts of a server: found in its database, kept, seen by whoever may, and told by real HTTP and mail servers."""

import email
import email.policy
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState
from edgefleet_protocol.telemetry import DeviceWindow, Window
from edgefleet_server.alerts.config import AlertsConfig, MailConfig, WebhookConfig, read_alerts
from edgefleet_server.alerts.judge import Alert
from edgefleet_server.alerts.rules import Rule
from edgefleet_server.alerts.tell import Teller, Told, mail, sign, webhook
from edgefleet_server.app import Server
from edgefleet_server.cli import alert as command
from edgefleet_server.config import HttpConfig
from edgefleet_server.errors import BadConfig
from edgefleet_server.identity.authority import establish
from edgefleet_server.ingest.counters import Counters
from edgefleet_server.store import alerts, devices, telemetry, tokens
from edgefleet_trust.passphrase import Passphrase
from tests.fakes.hook import Hook
from tests.fakes.mail_server import MailServer
from tests.fakes.scripted_device import eventually
from tests.fakes.web_server import WebServer

from .conftest import MakeServer

RULES = (
    Rule("hot", "heat", limit=80.0, clear=75.0, for_s=0.0, clear_s=0.0),
    Rule("empties", "battery", limit=6.0, for_s=0.0, clear_s=0.0),
    Rule("gone", "broker", for_s=0.0, clear_s=0.0),
    Rule("refused", "refused", limit=3.0, for_s=0.0, clear_s=0.0),
)
ALERT = Alert(
    "hot",
    "eu-west",
    "heat",
    "warning",
    "open",
    "one device in eu-west is at 80 °C",
    "/v1/devices/one",
    "Shade.",
    ("one",),
    1.0,
    2.0,
    id=7,
)
TOLD = Told("open", ALERT, "demo", 1_800_000_000.0)


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server that asks for tokens, with a device in each of two regions."""
    server = make_server(1, http=HttpConfig(), alerts=AlertsConfig(rules=RULES))
    for name, region in (("one", "eu-west"), ("three", "ap-south")):
        state = DeviceState(device=name, session=1, boot="b", at_s=1.0, agent_version="1", region=region)
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    yield server
    server.database.close()


def measured(server: Server, device: str, ago_s: float = 0.0, **facts: Any) -> None:
    now = time.time() - ago_s
    window = Window(start_s=now, seconds=1.0, boot="b", started_monotonic_s=now, device=DeviceWindow(**facts))
    with server.database.write() as connection:
        telemetry.add(connection, device, window, now, now)


def asking(server: Server, role: str, *regions: str) -> TestClient:
    with server.database.write() as connection:
        secret = tokens.new(connection, "ana", role, frozenset(regions) or None, time.time(), 600.0)[1]
    return TestClient(server.web, base_url="http://127.0.0.1:8300", headers={"Authorization": f"Bearer {secret}"})


def test_what_devices_measure_becomes_alerts_that_their_regions_see(server: Server) -> None:
    measured(server, "one", temperature_c=84.0)
    measured(server, "three", ago_s=7200.0, battery_percent=60.0)
    measured(server, "three", battery_percent=20.0)
    server.counters.add("state_refused", 3, reason="nobody signed it")
    server.watching.watch.look()
    server.counters.add("state_refused", 5, reason="nobody signed it")
    server.watching.watch.look()
    everywhere = {row["rule"]: row for row in asking(server, "viewer").get("/v1/alerts").json()["items"]}
    assert set(everywhere) == {"hot", "empties", "gone", "refused"}
    assert everywhere["hot"]["examples"] == ["one"] and everywhere["empties"]["region"] == "ap-south"
    assert "nobody signed it" in everywhere["refused"]["text"]
    west = asking(server, "viewer", "eu-west")
    assert [row["rule"] for row in west.get("/v1/alerts").json()["items"]] == ["hot"]
    for path in {row["evidence"] for row in everywhere.values()}:
        assert asking(server, "viewer").get(path).status_code == 200, path
    other = everywhere["empties"]["id"]
    assert west.get(f"/v1/alerts/{other}").status_code == 404
    measured(server, "one", temperature_c=40.0)
    server.watching.watch.look()
    assert [row["status"] for row in west.get("/v1/alerts?past=true").json()["items"]] == ["resolved"]
    assert west.get("/v1/alerts").json()["items"] == []


def test_a_batterys_trend_is_that_of_the_last_hours_and_of_nothing_that_comes_late(server: Server) -> None:
    hour = 3600.0
    for ago, percent in ((30 * hour, 40.0), (2 * hour, 90.0), (1 * hour, 75.0), (0.0, 60.0)):
        measured(server, "three", ago_s=ago, battery_percent=percent)
    measured(server, "three", ago_s=10 * hour, battery_percent=10.0, battery_charging=True)  # an outbox that empties
    server.watching.follower.look()
    found = server.watching.follower.device("three")
    assert found is not None and found[2] == pytest.approx(-15.0, rel=0.01)


def test_somebody_takes_an_alert_or_silences_it_and_the_audit_says_who(server: Server) -> None:
    measured(server, "one", temperature_c=84.0)
    server.watching.watch.look()
    viewer, operator = asking(server, "viewer"), asking(server, "operator")
    number = next(row["id"] for row in viewer.get("/v1/alerts").json()["items"] if row["rule"] == "hot")
    assert viewer.post(f"/v1/alerts/{number}/acknowledge", json={}).status_code == 403
    answer = operator.post(f"/v1/alerts/{number}/acknowledge", json={"why": "on my way"}).json()
    assert (answer["status"], answer["acknowledged_by"]) == ("acknowledged", "ana")
    assert operator.post(f"/v1/alerts/{number}/silence", json={"seconds": 3}).status_code == 422
    assert operator.post(f"/v1/alerts/{number}/silence", json={"seconds": 600}).json()["status"] == "silenced"
    measured(server, "one", temperature_c=90.0)
    server.watching.watch.look()  # what people said stays, whatever the rules find
    assert operator.get(f"/v1/alerts/{number}").json()["acknowledged_by"] == "ana"
    deeds = [row["outcome"] for row in operator.get("/v1/audit").json()["items"] if row["action"] == "alert.hold"]
    assert deeds[:2] == ["silenced for 600 s", "acknowledged on my way"] and deeds[2].startswith("refused: ana may not")
    measured(server, "one", temperature_c=40.0)
    server.watching.watch.look()
    assert operator.post(f"/v1/alerts/{number}/acknowledge", json={}).status_code == 409


def test_a_server_that_starts_again_goes_on_with_its_alerts(server: Server, make_server: MakeServer) -> None:
    measured(server, "one", temperature_c=84.0)
    server.watching.watch.look()
    server.database.close()
    again = make_server(1, alerts=AlertsConfig(rules=RULES))
    again.watching.watch.look()
    with again.database.read() as connection:
        assert sorted(row.rule for row in alerts.latest(connection, past=True)) == ["gone", "hot"]
    again.database.close()


def test_the_command_lists_shows_takes_and_silences(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(server, "one", temperature_c=84.0)
    measured(server, "one", temperature_c=84.0, agent_memory_bytes=1)
    with WebServer(server.web) as web:
        monkeypatch.setenv("EDGEFLEET_SERVER", web.url)
        monkeypatch.setenv("EDGEFLEET_TOKEN", asking(server, "admin").headers["authorization"].split()[1])
        _list_show_take_and_silence(server, capsys)


def _list_show_take_and_silence(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["list"]) == 0 and "Nothing needs a person" in capsys.readouterr().out
    server.watching.watch.look()
    assert command.main(["list", "--json"]) == 0
    number = str(next(row["id"] for row in json.loads(capsys.readouterr().out) if row["rule"] == "hot"))
    assert command.main(["list"]) == 0 and "at 80 °C or more: one" in capsys.readouterr().out
    assert command.main(["show", number]) == 0
    assert "evidence: GET /v1/devices/one" in capsys.readouterr().out
    assert command.main(["ack", number]) == 0 and "is yours: Shade" in capsys.readouterr().out
    assert command.main(["silence", number, "--for", "2d"]) == 0
    assert command.main(["silence", number, "--for", "soon"]) == 2
    assert command.main(["show", "999"]) == 3


def test_a_webhook_gets_signed_json_and_once_more_when_it_failed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of both\n")
    counters = Counters()
    with Hook(500, 302) as hook:
        teller = Teller({"webhook": webhook(WebhookConfig(hook.url, str(secret)))}, counters, (0.01, 0.01))
        teller.start()
        teller.tell(TOLD)
        eventually("told", lambda: counters.get("alerts_told") == 1)
        teller.stop()
    assert len(hook.taken) == 3 and len({row[0]["x-edgefleet-delivery"] for row in hook.taken}) == 1
    headers, body = hook.taken[-1]
    assert headers["x-edgefleet-signature"] == sign(b"of both", headers["x-edgefleet-timestamp"], body)
    said = json.loads(body)
    assert (said["change"], said["fleet"], said["alert"]["id"], said["alert"]["next"]) == ("open", "demo", 7, "Shade.")
    assert counters.get("alerts_not_told") == 2


def test_mail_goes_out_by_starttls_with_a_password_from_a_file(tmp_path: Path) -> None:
    folder, password = tmp_path / "identity", tmp_path / "password"
    establish(folder, "demo", ["localhost"], Passphrase(b"a long passphrase for it"), datetime.now(UTC))
    password.write_text("hush\n")
    counters = Counters()
    with MailServer(folder / "server.pem", folder / "server.key") as server:
        server.refuse = 1
        config = MailConfig(
            "localhost", server.port, "fleet@example.org", ("a@example.org", "b@example.org"), username="fleet",
            password_file=str(password), ca=str(folder / "ca.pem"),
        )  # fmt: skip
        teller = Teller({"mail": mail(config)}, counters, (0.01, 0.01))
        teller.start()
        teller.tell(TOLD)
        eventually("told", lambda: counters.get("alerts_told") == 1)
        teller.stop()
    ((text, login, encrypted),) = server.messages
    message = email.message_from_string(text, policy=email.policy.default)
    assert (login, encrypted) == ("\0fleet\0hush", True)
    assert (message["Subject"], message["To"]) == ("[demo] warning: hot in eu-west", "a@example.org, b@example.org")
    assert "one device in eu-west is at 80 °C" in message.get_content()
    assert "edgefleet alert ack 7" in message.get_content()


def test_a_mail_server_without_tls_gets_no_password(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hush")
    counters = Counters()
    with MailServer() as server:
        config = MailConfig("127.0.0.1", server.port, "f@example.org", ("a@example.org",), True, "fleet", str(password))
        teller = Teller({"mail": mail(config)}, counters, ())
        teller.start()
        teller.tell(TOLD)
        eventually("given up", lambda: counters.get("alerts_untold") == 1)
        teller.stop()
    assert server.messages == [] and "STARTTLS" in counters.reasons()["alerts_not_told"]


def test_a_dead_receiver_holds_up_neither_the_rules_nor_the_other_way() -> None:
    counters = Counters()
    with socket.create_server(("127.0.0.1", 0)) as silent, Hook() as hook:  # it takes the connection and says nothing
        dead = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ways = {"dead": webhook(WebhookConfig(dead)), "alive": webhook(WebhookConfig(hook.url))}
        teller = Teller(ways, counters)
        teller.start()
        for _ in range(600):
            teller.tell(TOLD)
        eventually("the living one has what its queue holds", lambda: len(hook.taken) >= 100)
        assert counters.get("alerts_untold") >= 99


@pytest.mark.parametrize(
    ("alerts", "words"),
    [
        ({"look": 3}, "alerts.look is not known"),
        ({"look_s": 0}, "alerts.look_s is 0"),
        ({"webhook": {"url": "example.org"}}, "write it as https"),
        ({"webhook": {"url": "https://e.org", "secret_file": "nothing"}}, "there is no such file"),
        ({"mail": {"host": "m"}}, "from whom and to whom"),
        ({"mail": {"host": "m", "sender": "s", "to": ["t"], "username": "u"}}, "belong together"),
        ({"mail": {"username": "u", "starttls": False}}, "unencrypted"),
        ({"rule": {"name": "x"}}, r"\[\[alerts.rule\]\]"),
    ],
)
def test_alerts_that_make_no_sense_are_refused_by_name(alerts: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=words):
        read_alerts({"alerts": alerts}, tmp_path)


def test_alerts_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "alerts.toml").write_text("look_s = 3\n[[rule]]\nname = 'device-hot'\nenabled = false\n")
    found = read_alerts({}, tmp_path)
    assert found.look_s == 3.0 and "device-hot" not in {rule.name for rule in found.rules}
    with pytest.raises(BadConfig, match="keep one of them"):
        read_alerts({"alerts": {}}, tmp_path)
