"""Further ingest processes beside a server: each with a certificate of its own, which lets it read telemetry and nothing else."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet_server.app import Server
from edgefleet_server.broker.helpers import helpers_in
from edgefleet_server.broker.place import write_configuration
from edgefleet_server.commands import server as server_command
from edgefleet_server.config import BrokerConfig, HttpConfig, ServerConfig, load
from edgefleet_server.errors import BadConfig, Refused
from edgefleet_server.ingest.helper import Helper
from edgefleet_server.operate.backup import back_up, restore
from edgefleet_server.operate.check import check
from edgefleet_server.store.place import DatabaseConfig
from tests.fakes.postgres import Postgres
from tests.fakes.repository import PASSPHRASE, FakeRepository
from tests.fakes.scripted_device import eventually
from tests.fakes.sender import payload
from tests.fakes.tls_broker import TlsBroker

CA_SECRET = "a long passphrase for it"


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsBroker]:
    with TlsBroker(tmp_path / "tls") as broker:
        yield broker


def test_a_helper_shares_telemetry_with_the_server_and_may_read_nothing_else(
    tls: TlsBroker, repo: FakeRepository, tmp_path: Path, postgres: Postgres
) -> None:
    config = ServerConfig(
        repository=repo.folder, keys=repo.keys_folder, data=tmp_path / "data", http=HttpConfig(open=True),
        broker=BrokerConfig(port=tls.port, ca=tls.ca, certificate=tls.hub.certificate, key=tls.hub.key),
        database=DatabaseConfig(url=postgres.new()),
    )  # fmt: skip
    with Server(config, PASSPHRASE) as server:
        with pytest.raises(BadConfig, match="identity ingest --number 2"):
            Helper(config, "demo", 2)
        second = tls.certificate("hub-2")
        assert helpers_in(second.certificate.parent) == ("hub-2",), "and hub-probe is none"
        tls.settings = replace(tls.settings, helpers=("hub-2",))
        write_configuration(tls.settings, tls.topics)
        tls.reload()
        assert server.broker.wait_connected(20)
        session = server.broker.session
        with Helper(config, "demo", 2) as helper, tls.client(tls.certificate("dev-a")) as device:
            assert helper.broker.wait_connected(20)
            number = 0

            def both() -> bool:
                nonlocal number
                number += 1
                device.publish(tls.topics.of_device("dev-a", "telemetry"), payload("dev-a", number, 2))
                return min(counters.get("windows_taken") for counters in (server.counters, helper.counters)) >= 6

            eventually("both take", both)
            assert server.broker.session == session, "neither takes the other's place"
        with tls.client(second) as thief, tls.client(tls.certificate("dev-b")) as device:
            thief.subscribe(f"{tls.topics.prefix}/#", 1)
            assert "uthor" in thief.publish(tls.topics.trust("head"), b"x")
            assert "uthor" in thief.publish(tls.topics.of_device("dev-b", "command"), b"x")
            state, telemetry = (tls.topics.of_device("dev-b", kind) for kind in ("state", "telemetry"))

            def heard() -> bool:
                device.publish(state, b"x", retain=True)
                device.publish(telemetry, b"x")
                return bool(thief.received(telemetry))

            eventually("it reads telemetry", heard)
            assert not thief.received(state)


@pytest.fixture
def config_file(tmp_path: Path, repo: FakeRepository, monkeypatch: pytest.MonkeyPatch) -> Path:
    secret = tmp_path / "ca-secret"
    secret.write_text(CA_SECRET)
    secret.chmod(0o600)
    monkeypatch.setenv("EDGEFLEET_CA_PASSPHRASE_FILE", str(secret))
    monkeypatch.setenv("EDGEFLEET_ONLINE_PASSPHRASE_FILE", str(repo.passphrase_file))
    path = tmp_path / "server.toml"
    path.write_text(
        f"repository = '{repo.folder}'\nkeys = '{repo.keys_folder}'\ndata = 'data'\n[identity]\nfolder = 'identity'\n"
    )
    return path


def test_the_commands_make_its_certificate_and_name_it_in_the_access_list(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--config", str(config_file)]
    assert server_command(["identity", "init", *where, "--host", "localhost"]) == 0
    assert server_command(["identity", "ingest", *where, "--number", "1"]) == 2
    assert server_command(["identity", "ingest", *where, "--number", "2", "--json"]) == 0
    before = (tmp_path / "identity/hub-2.pem").read_bytes()
    assert (tmp_path / "identity/hub-2.key").stat().st_mode & 0o777 == 0o600
    assert server_command(["broker", "config", *where, "--out", str(tmp_path / "out"), "--user", "root"]) == 0
    lines = (tmp_path / "out/acl").read_text().splitlines()
    assert [line for line in lines if line.startswith("user hub")] == ["user hub", "user hub-2", "user hub"]
    assert lines[lines.index("user hub-2") + 1] == "topic read edgefleet/v1/demo/telemetry/+"
    capsys.readouterr()
    assert server_command(["identity", "renew", *where, "--json"]) == 0
    assert "hub-2" in {row["name"] for row in json.loads(capsys.readouterr().out)["ends"]}
    assert (tmp_path / "identity/hub-2.pem").read_bytes() != before
    assert server_command(["ingest", *where]) == 2
    assert "SQLite has one writer" in capsys.readouterr().err


def test_check_backup_and_restore_say_what_they_do_with_postgresql(
    config_file: Path, tmp_path: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    with config_file.open("a") as file:
        file.write(f"[database]\nurl = '{postgres.new()}'\n[broker]\nopen = true\n[http]\nopen = true\n")
    config_file.write_text(config_file.read_text().replace("[identity]\nfolder = 'identity'\n", ""))
    config = load(config_file)

    def database_row() -> tuple[str, str]:
        return next((row.state, row.text) for row in check(config) if row.name == "database")

    assert database_row() == ("warning", database_row()[1]) and "is empty" in database_row()[1]
    server = Server(config, PASSPHRASE)
    state, text = database_row()
    assert state == "ok" and "a server has it" in text and "PostgreSQL" in text
    out = tmp_path / "backup.tar.gz"
    assert server_command(["backup", "--config", str(config_file), "--out", str(out)]) == 0
    assert "pg_dump" in capsys.readouterr().out
    server.database.close()
    assert "no server has it" in database_row()[1]
    there = {name: tmp_path / "there" / name for name in ("data", "repository", "keys")}
    with pytest.raises(Refused, match="of a server with postgresql"):
        restore(out, replace(config, database=DatabaseConfig(), identity=None, **there))
    made = restore(out, replace(config, identity=None, **there))
    assert made.database == "postgresql" and (there["repository"] / "metadata/timestamp.json").is_file()
    with pytest.raises(Refused, match="exists"):
        back_up(config, out, with_keys=False)
    gone = replace(config, database=DatabaseConfig(url=postgres.url("nobody-made-it")))
    assert next(row.state for row in check(gone) if row.name == "database") == "failed"
