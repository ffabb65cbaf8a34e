"""A fleet's broker with identities: the real server on a real Mosquitto with the configuration that the server makes."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from edgefleet_server.app import Server
from edgefleet_server.broker import access, strangers
from edgefleet_server.broker.bridge import Upstream, bridge
from edgefleet_server.broker.keeper import ListKeeper
from edgefleet_server.broker.reload import CannotReload, reload_broker
from edgefleet_server.broker.revoke import Step, cut_off
from edgefleet_server.commands import device as device_command
from edgefleet_server.commands import server as server_command
from edgefleet_server.config import BrokerConfig, HttpConfig, ServerConfig
from edgefleet_server.errors import BadConfig, NotFound, OpenBroker
from edgefleet_server.ingest.counters import Counters
from edgefleet_server.link.broker import Broker
from edgefleet_server.link.embedded import free_port
from edgefleet_server.link.stranger import Tried, try_as
from edgefleet_server.link.tls import Tls
from tests.fakes.clock import FakeClock
from tests.fakes.repository import PASSPHRASE, FakeRepository
from tests.fakes.scripted_device import eventually
from tests.fakes.tls_broker import Pair, TlsBroker, TlsClient

MakeSecure = Callable[..., Server]


class Certificates:
    """What the desk remembers of a device's certificates, as small as the revocation needs it."""

    def __init__(self, broker: TlsBroker, given: dict[str, list[Pair]]) -> None:
        self._broker, self._given = broker, given

    def revoke_device(self, device: str, actor: str) -> list[str]:
        for pair in self._given.get(device, []):
            self._broker.revoke(pair)
        return [f"{pair.serial:x}" for pair in self._given.get(device, [])]


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsBroker]:
    with TlsBroker(tmp_path / "tls") as broker:
        yield broker


def link_to(broker: TlsBroker, **more: object) -> BrokerConfig:
    """The server's configuration for `broker`."""
    config = BrokerConfig(
        port=broker.port, ca=broker.ca, certificate=broker.hub.certificate, key=broker.hub.key,
        pid_file=broker.folder / "broker.pid",
    )  # fmt: skip
    return replace(config, **more)  # type: ignore[arg-type]


@pytest.fixture
def make_secure(tmp_path: Path, repo: FakeRepository) -> MakeSecure:
    def make(config: BrokerConfig) -> Server:
        return Server(
            ServerConfig(
                repository=repo.folder,
                keys=repo.keys_folder,
                data=tmp_path / "data",
                broker=config,
                http=HttpConfig(open=True),
            ),
            PASSPHRASE,
        )

    return make


def test_the_server_publishes_over_tls_and_a_device_hears_it(tls: TlsBroker, make_secure: MakeSecure) -> None:
    probe = tls.certificate("hub-probe")
    config = link_to(tls, probe_certificate=probe.certificate, probe_key=probe.key)
    with make_secure(config) as server, tls.client(tls.certificate("dev-a")) as device:
        head = tls.topics.trust("head")
        device.subscribe(head)
        eventually("the head comes", lambda: device.received(head))
        health = server.views.health()
        assert health["broker_connected"]
        assert health["broker"]["problem"] is None and not health["broker"]["open"]
        assert 300 < health["broker"]["revocation_list_days_left"] < 366


def test_a_revoked_device_is_cut_off_stays_out_and_may_enrol_again(tls: TlsBroker, make_secure: MakeSecure) -> None:
    pair = tls.certificate("dev-a")
    with make_secure(link_to(tls)) as server, tls.client(pair) as thief, tls.client(tls.certificate("dev-b")) as other:
        web = TestClient(server.web, base_url="http://127.0.0.1")
        refused = web.post("/v1/devices/dev-a/revoke", json={})
        assert refused.status_code == 409 and "keeps no identities" in refused.json()["detail"]
        server.revocation.certificates = Certificates(tls, {"dev-a": [pair]})
        assert web.post("/v1/devices/dev-z/revoke", json={}).status_code == 404
        assert server.broker.wait_connected(20)
        for _ in range(2):  # it may be given again
            answer = web.post("/v1/devices/dev-a/revoke", json={}).json()
            assert answer["done"], answer
            assert [step["name"] for step in answer["steps"]] == ["revoke", "list", "reload", "disconnect"]
            assert not thief.connected and other.connected
            again = tls.client(pair)
            assert not again.open()
            again.close()
        with tls.client(tls.certificate("dev-a", file="dev-a-2")) as renewed:
            assert "uthor" not in renewed.publish(tls.topics.of_device("dev-a", "state"))
        assert any(row["action"] == "device.cut-off" for row in server.views.audit())


@pytest.mark.parametrize(
    ("done", "code", "words"), (((True, True), 0, "done"), ((False, None), 1, "give the command again"))
)
def test_the_command_prints_each_step_and_fails_when_one_did(
    done: tuple[bool | None, ...],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = [{"name": f"step {number}", "done": state, "words": "w"} for number, state in enumerate(done)]
    answer = {"device": "dev-a", "done": all(done), "steps": steps}
    monkeypatch.setattr("edgefleet_server.cli.device.Client.post", lambda *_: answer)
    assert device_command(["revoke", "dev-a"]) == code
    said = capsys.readouterr()
    assert "step 1" in said.out and words in said.out + said.err


def test_what_failed_is_told_and_nothing_after_it_is_done(tls: TlsBroker, make_secure: MakeSecure) -> None:
    pair = tls.certificate("dev-a")
    config = link_to(tls, pid_file=None, reload=("sh", "-c", "echo no such unit >&2; exit 5"))
    with make_secure(config) as server, tls.client(pair) as device:
        server.revocation.certificates = Certificates(tls, {"dev-a": [pair]})
        steps = server.revocation.cut_off("dev-a", "a person")
        assert [step.done for step in steps] == [True, True, False, None]
        assert "code 5" in steps[2].words and "no such unit" in steps[2].words
        assert device.connected
        assert "broker.reload ended" in str(server.views.health()["broker"]["problem"])


def test_a_broker_that_lets_in_strangers_is_refused(tmp_path: Path, tls: TlsBroker, make_secure: MakeSecure) -> None:
    made = configuration_of(tls)
    open_door = without_certificates(made)
    with (
        running(tls, open_door),
        pytest.raises(OpenBroker, match="whoever has no certificate"),
        make_secure(link_to(tls)),
    ):
        pass
    probe = tls.certificate("hub-probe")
    config = link_to(tls, probe_certificate=probe.certificate, probe_key=probe.key)
    no_list = "\n".join(line for line in made.splitlines() if not line.startswith("acl_file")) + "\n"
    no_list = "\n".join(line for line in no_list.splitlines() if not line.startswith("plugin")) + "\n"
    with running(tls, no_list), pytest.raises(OpenBroker, match="access list"), make_secure(config):
        pass


def configuration_of(broker: TlsBroker) -> str:
    return (broker.settings.folder / "mosquitto.conf").read_text()


def without_certificates(made: str) -> str:
    """As somebody leaves it who wanted to try something."""
    for line in ("require_certificate", "use_identity_as_username", "use_username_as_clientid"):
        made = made.replace(f"{line} true", f"{line} false")
    return made.replace("allow_anonymous false", "allow_anonymous true")


class running:
    """The same broker with another configuration."""

    def __init__(self, broker: TlsBroker, configuration: str) -> None:
        self._broker, self._configuration = broker, configuration

    def __enter__(self) -> None:
        self._broker.stop()
        self._broker.start(self._configuration)

    def __exit__(self, *_: object) -> None:
        self._broker.stop()
        self._broker.start()


def test_a_broker_that_becomes_open_is_not_used_any_more(tls: TlsBroker, make_secure: MakeSecure) -> None:
    made = configuration_of(tls)
    with make_secure(link_to(tls)) as server:
        assert server.broker.wait_connected(20)
        session = server.broker.session
        with running(tls, without_certificates(made)):
            eventually(
                "the server says why", lambda: "no certificate" in str(server.views.health()["broker"]["problem"])
            )
            assert server.broker.session is None
        eventually("it is back", lambda: server.broker.session not in (None, session))


def test_a_broker_that_cannot_be_judged_is_not_connected_to(tls: TlsBroker) -> None:
    looks: list[int] = []

    def why_not() -> str | None:
        """It went before it was judged the first time, and is back, as whatever it is now, before the server connects."""
        looks.append(1)
        if len(looks) == 1:
            raise ConnectionError("it is away")
        return "it is another one now"

    link = Broker("127.0.0.1", tls.port, "hub", (), tls=Tls(tls.ca, tls.hub.certificate, tls.hub.key), why_not=why_not)
    link.start()
    eventually("judged again", lambda: link.problem == "it is another one now")
    assert not link.wait_connected(0.5)
    link.stop()


def test_a_broker_that_is_away_or_silent_is_not_judged_at_all(tls: TlsBroker) -> None:
    tls.stop()
    with pytest.raises(ConnectionError, match="refused"):
        strangers.look(link_to(tls), tls.topics)
    with socket.create_server(("127.0.0.1", tls.port)):
        nobody = try_as("127.0.0.1", tls.port, Tls(tls.ca), (), timeout_s=0.5)
    assert not nobody.reached and "timed out" in nobody.why


def test_a_server_whose_broker_is_away_starts_and_waits_for_it(tls: TlsBroker, make_secure: MakeSecure) -> None:
    tls.stop()
    with make_secure(link_to(tls, pid_file=None, reload=("true",))) as server:
        assert server.broker.session is None
        tls.start()
        eventually("connected", lambda: server.broker.session is not None)


@pytest.mark.parametrize(
    ("config", "words"),
    (
        (BrokerConfig(), "asks for no certificate"),
        (BrokerConfig(open=True, host="10.0.0.1"), "other machines reach"),
        (BrokerConfig(open=True, host="broker.example"), "other machines reach"),
        (BrokerConfig(ca=Path("ca.pem")), "broker.certificate is missing|broker.key is missing"),
        (BrokerConfig(ca=Path("a"), certificate=Path("b"), key=Path("c"), open=True), "open, or it asks"),
        (BrokerConfig(open=True, probe_key=Path("x")), "belong together"),
        (BrokerConfig(open=True, reload=("x",), pid_file=Path("x")), "keep one"),
    ),
)
def test_a_link_that_must_not_carry_a_fleet_is_refused_in_words(config: BrokerConfig, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        access.check(config)


def test_an_open_broker_on_this_machine_is_allowed_when_it_is_said() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.3.0.1"):
        access.check(BrokerConfig(host=host, open=True))


@pytest.mark.parametrize(
    ("nobody", "device", "refused"),
    (
        (Tried(True, False), None, False),
        (Tried(False, False), None, False),
        (Tried(True, True), None, True),
        (Tried(True, False), Tried(True, True), False),
        (Tried(True, False), Tried(True, True, ("trust/x",)), True),
        (Tried(True, False), Tried(True, False), False),
    ),
)
def test_what_a_stranger_could_do_decides(nobody: Tried, device: Tried | None, refused: bool) -> None:
    assert (strangers.judge("b:1", nobody, device) is not None) == refused


def test_the_steps_have_one_order_and_a_second_kick() -> None:
    did: list[str] = []

    def step(name: str) -> Callable[..., str]:
        return lambda *_: did.append(name) or name  # type: ignore[func-returns-value]

    steps = cut_off(
        "a", revoke=step("revoke"), place=step("place"), reload=step("reload"), kick=step("kick"), pause=step("pause")
    )  # fmt: skip
    assert did == ["revoke", "place", "reload", "kick", "pause", "kick"]
    assert all(row.done for row in steps)

    def nothing() -> str:
        raise NotFound("never")

    def full() -> str:
        raise OSError("disk full")

    with pytest.raises(NotFound):
        cut_off("a", revoke=nothing, place=step("x"), reload=step("x"), kick=step("x"))
    assert cut_off("a", revoke=full, place=step("x"), reload=step("x"), kick=step("x"))[0] == Step(
        "revoke", False, "disk full"
    )


def test_a_list_goes_to_the_broker_when_it_changed_and_once_a_day_and_its_end_is_told(
    tmp_path: Path, tls: TlsBroker
) -> None:
    clock, read = FakeClock(), tmp_path / "read"
    now_s = tls.authority.ca.stat().st_mtime
    clock.advance(now_s - clock.now())
    log = tmp_path / "reloads"
    config = link_to(tls, pid_file=None, reload=("sh", "-c", f"echo x >> {log}"), crl=read / "crl.pem")
    read.mkdir()
    keeper = ListKeeper(config, clock, Counters())
    keeper.look()
    keeper.look()
    assert log.read_text() == "x\n" and (read / "crl.pem").read_bytes() == tls.authority.crl.read_bytes()
    tls.authority.list_revoked()
    keeper.look()
    assert log.read_text() == "x\nx\n", "a changed list"
    clock.advance(86400)
    keeper.look()
    assert log.read_text() == "x\nx\nx\n" and keeper.problem is None, "a day"
    clock.advance(340 * 86400)
    keeper.look()
    assert keeper.problem is not None and "ends in 24 days" in keeper.problem
    good = (read / "crl.pem").read_bytes()
    tls.authority.crl.write_bytes(b"torn")
    keeper.look()
    assert keeper.problem is not None and "no revocation list" in keeper.problem
    assert (read / "crl.pem").read_bytes() == good, "what cannot be read is not put where the broker reads it"


@pytest.mark.parametrize(
    ("config", "words"),
    (
        (BrokerConfig(), "nobody said how"),
        (BrokerConfig(reload=("/no/such/program",)), "could not be run"),
        (BrokerConfig(pid_file=Path("/no/such/file")), "Is the broker running"),
        (BrokerConfig(pid_file=Path("/dev/null")), "holds no process id"),
    ),
)
def test_a_reload_that_cannot_be_names_the_way_on(config: BrokerConfig, words: str) -> None:
    with pytest.raises(CannotReload, match=words):
        reload_broker(config)


def test_a_process_group_is_no_process(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("-1\n")
    with pytest.raises(CannotReload, match="holds no process id"):
        reload_broker(BrokerConfig(pid_file=tmp_path / "pid"))


def test_the_command_writes_what_mosquitto_starts_on(
    tmp_path: Path, tls: TlsBroker, repo: FakeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server.toml").write_text(
        f"repository = {json.dumps(str(repo.folder))}\nkeys = {json.dumps(str(repo.keys_folder))}\ndata = 'data'\n"
        f"[broker]\nca = 'tls/pki/ca.pem'\ncertificate = 'tls/pki/hub.pem'\nkey = 'tls/pki/hub.key'\n"
    )
    port, out = free_port(), tmp_path / "out"
    words = ["broker", "config", "--config", str(tmp_path / "server.toml"), "--out", str(out), "--user", "root"]
    words += ["--port", str(port), "--listen", "127.0.0.1", "--store", str(tmp_path)]
    assert server_command([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tried"]
    assert {path.name for path in out.iterdir()} == {
        "mosquitto.conf", "acl", "dynamic-security.json", "ca.pem", "crl.pem", "server.pem", "server.key",
    }  # fmt: skip
    assert (out / "server.key").stat().st_mode & 0o007 == 0
    (out / "dynamic-security.json").write_text("{}")
    assert server_command(words) == 0
    assert (out / "dynamic-security.json").read_text() == "{}", "the plugin's own memory is left alone"
    (tls.folder / "pki/server.pem").write_text("no certificate")
    assert server_command(words) == 1
    assert "Mosquitto does not start" in capsys.readouterr().err


def test_a_second_broker_passes_on_what_the_first_one_says(tmp_path: Path, tls: TlsBroker) -> None:
    """A region's broker: `bridge.conf` beside a configuration made for it."""
    upstream = tls.certificate("hub-bridge-south")
    with TlsBroker(tmp_path / "south", authority=tls.authority) as south:
        south.stop()
        own = configuration_of(south)
        text = bridge(
            south.topics,
            Upstream("south", "localhost", tls.port, tls.ca, upstream.certificate, upstream.key),
        )
        tls.allow_bridge("hub-bridge-south")
        south.start(own + text)
        with tls.client(tls.hub) as hub, south.client(tls.certificate("dev-s")) as device:
            hub.subscribe(f"{tls.topics.prefix}/device/+/state", 1)
            head, state = tls.topics.trust("head"), tls.topics.of_device("dev-s", "state")
            device.subscribe(head)

            def passed_on(sender: TlsClient, receiver: TlsClient, topic: str) -> bool:
                sender.publish(topic, b"passed on", retain=True)
                return b"passed on" in receiver.received(topic)

            eventually("down", lambda: passed_on(hub, device, head))
            eventually("up", lambda: passed_on(device, hub, state))
