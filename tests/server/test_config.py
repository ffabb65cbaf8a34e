"""server.toml, and what it may not say."""

from pathlib import Path

import pytest

from edgefleet_protocol.rollout import Policy
from edgefleet_server.config import load, parse
from edgefleet_server.errors import BadConfig

FOLDERS = "repository = 'repo'\nkeys = 'keys'\ndata = '/var/lib/edgefleet'\n"


def read(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "server.toml"
    path.write_text(text)
    return load(path)


def test_folders_are_relative_to_the_file_and_the_rest_has_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, FOLDERS)
    assert (config.repository, config.data) == (tmp_path / "repo", Path("/var/lib/edgefleet"))
    assert (config.http.host, config.http.port, config.broker.port) == ("127.0.0.1", 8300, 1883)
    assert config.policy("eu-west") == Policy()


def test_a_region_has_its_policy(tmp_path: Path) -> None:
    text = FOLDERS + "[regions.eu-west.policy]\nobjective = 'latency'\nlatency_budget_s = 0.02\n"
    assert read(tmp_path, text).policy("eu-west") == Policy(objective="latency", latency_budget_s=0.02)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "192.168.1.2"])
def test_an_address_that_others_can_reach_only_with_tls_and_tokens(tmp_path: Path, host: str) -> None:
    there = FOLDERS + f"[http]\nhost = '{host}'\nnames = ['fleet.example.org']\n"
    with pytest.raises(BadConfig, match="which other machines can reach, and tokens would go there unencrypted"):
        read(tmp_path, there)
    with pytest.raises(BadConfig, match=r"http\.open is for loopback"):
        read(tmp_path, there + "open = true\nbehind_proxy = true\n")
    with pytest.raises(BadConfig, match="one of them is missing"):
        read(tmp_path, there + "certificate = 'server.pem'\n")
    with pytest.raises(BadConfig, match=r"http\.certificate names .*server.pem, and there is no such file"):
        read(tmp_path, there + "certificate = 'server.pem'\nkey = 'server.key'\n")
    for name in ("server.pem", "server.key"):
        (tmp_path / name).write_text("")
    tls = read(tmp_path, there + "certificate = 'server.pem'\nkey = 'server.key'\n").http
    assert (tls.certificate, tls.names, tls.open) == (str(tmp_path / "server.pem"), ("fleet.example.org",), False)
    assert read(tmp_path, there + "behind_proxy = true\n").http.behind_proxy


def test_a_server_on_every_address_must_say_its_names(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"say with http\.names by which names it is asked"):
        read(tmp_path, FOLDERS + "[http]\nhost = '0.0.0.0'\nbehind_proxy = true\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_loopback_by_any_of_its_names(tmp_path: Path, host: str) -> None:
    assert read(tmp_path, FOLDERS + f"[http]\nhost = '{host}'\n").http.host == host


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "repository is missing"),
        (FOLDERS + "fleet = 'x'\n", "fleet is not known. Known here: alerts, broker, data"),
        (FOLDERS + "[broker]\nprot = 1\n", "broker.prot is not known"),
        (FOLDERS + "[broker]\nport = 'x'\n", "broker: port is 'x' and must be a whole number"),
        (FOLDERS + "[broker]\nport = 99999\n", "server.toml: broker.port is 99999: a port is a number up to 65535"),
        (FOLDERS + "[http]\nport = -1\n", "http.port is -1: a port is"),
        (FOLDERS + "[http]\nhost = 'example.org'\n", "write an address"),
        (
            FOLDERS + "[regions.eu-west.policy]\nobjective = 'luck'\n",
            "regions.eu-west.policy: objective is 'luck' and must be one of accuracy",
        ),
        (FOLDERS + "[regions.eu-west.policy]\nbudget = 1\n", "regions.eu-west.policy.budget is not known"),
        ("repository = \n", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadConfig) as error:
        read(tmp_path, text)
    assert words in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_the_database_is_a_file_or_postgresql_with_its_password_apart(tmp_path: Path) -> None:
    folders = {"repository": "r", "keys": "k", "data": "d", "broker": {"open": True}, "http": {"open": True}}
    assert parse(folders, tmp_path).place == tmp_path / "d/server.sqlite3"
    (tmp_path / "secret").write_text("p@ss/word\n")
    url = "postgresql://edgefleet@db.example.org:5433/fleet?sslmode=require"
    there = {"url": url, "password_file": "secret"}
    place = parse({**folders, "database": there}, tmp_path).place
    assert place == "postgresql://edgefleet:p%40ss%2Fword@db.example.org:5433/fleet?sslmode=require"
    for wrong, words in (
        ({"url": "mysql://x/y"}, "names no PostgreSQL"),
        ({"password_file": "secret"}, "database.url is not"),
        ({"url": url, "password_file": "nowhere"}, "cannot be read"),
        ({"url": "postgresql://db/fleet", "password_file": "secret"}, "needs a user"),
        ({"urls": url}, "database.urls is not known"),
    ):
        with pytest.raises(BadConfig, match=words):
            parse({**folders, "database": wrong}, tmp_path).place  # noqa: B018
