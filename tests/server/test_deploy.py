"""What is in deploy/: each file holds together with the others and with the code. Docker itself is not asked."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgefleet_server.config import load
from edgefleet_server.identity import passphrase
from edgefleet_server.operate.first import write_first
from edgefleet_trust import passphrase as trust_passphrase

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

SERVICE_KEYS = {
    "image", "build", "restart", "command", "ports", "volumes", "depends_on", "network_mode", "environment", "secrets",
    "stop_grace_period", "read_only", "tmpfs", "cap_drop", "security_opt", "profiles", "shm_size", "healthcheck", "mem_limit",
}  # fmt: skip
"""Of the compose specification, those that our file uses: a word that is mistyped is not among them."""


@pytest.fixture
def compose() -> dict[str, Any]:
    """deploy/compose/compose.yaml."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    return found


def test_the_compose_file_names_nothing_that_it_does_not_define(compose: dict[str, Any]) -> None:
    assert set(compose) == {"name", "services", "secrets", "volumes"}
    assert {"mosquitto", "server", "api", "postgres", "prometheus", "grafana"} == set(compose["services"])
    volumes, secrets = set(), set()
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert service["restart"] == "unless-stopped" and ("image" in service)
        assert ":latest" not in service["image"]
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        secrets |= set(service.get("secrets", ()))
        for port in service.get("ports", ()):
            assert re.fullmatch(r"(127\.0\.0\.1:)?\d+:\d+", port), port
            assert port.startswith("127.0.0.1:") or port == "8883:8883"  # devices reach the broker, and nothing else
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            if not source.startswith("."):
                volumes.add(source)
            elif name == "api":
                assert volume.endswith(":ro"), volume
            elif source.startswith(".."):  # what the repository brings
                assert (DEPLOY / "compose" / source).exists(), source
            else:
                assert source.split("/")[1] in ("etc", "state"), source
        for value in service.get("environment", {}).values():
            if value.startswith("/run/secrets/"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], value
    assert volumes == set(compose["volumes"]) and secrets == set(compose["secrets"])


def test_the_server_in_the_compose_file_is_given_what_the_code_reads(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    assert {trust_passphrase.ONLINE, passphrase.VARIABLE} == set(server["environment"])
    context = (DEPLOY / "compose" / server["build"]["context"]).resolve()
    assert context == ROOT and (context / server["build"]["dockerfile"]).is_file()
    source = (DEPLOY / "grafana/provisioning/datasources/edgefleet.yml").read_text()
    (variable,) = re.findall(r"\$([A-Z_]+)", source)
    assert variable in compose["services"]["grafana"]["environment"]


def test_the_dockerfile_copies_what_is_there_and_starts_what_exists() -> None:
    text = (DEPLOY / "server/Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for word in line.split()]
    assert copied and all((ROOT / name).exists() for name in copied)
    assert "USER edgefleet" in text and "/livez" in text


def test_the_unit_gives_the_passphrases_by_the_names_that_the_code_reads() -> None:
    text = (DEPLOY / "systemd/edgefleet-server.service").read_text()
    given = set(re.findall(r"^LoadCredential=([a-z-]+):", text, re.MULTILINE))
    assert given == {trust_passphrase.CREDENTIAL, passphrase.CREDENTIAL}


def test_systemd_finds_nothing_wrong_in_the_units() -> None:
    assert shutil.which("systemd-analyze") is not None
    for unit in (DEPLOY / "systemd").glob("*.service"):
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if unit.name in line]
        assert said == [], said


def test_the_first_configuration_is_one_that_the_server_reads(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    assert write_first(path) and not write_first(path)
    config = load(path)
    assert (config.broker.port, config.http.port, config.alerts.look_s) == (8883, 8300, 15.0)
    text = path.read_text()
    (tmp_path / "webhook.secret").write_text("x")
    (tmp_path / "mail.password").write_text("x")
    path.write_text(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE))  # with every example line in force
    config = load(path)
    assert (
        config.alerts.webhook.url
        and config.alerts.mail.to
        and config.alerts.mail.password_file.endswith("mail.password")
    )
    assert next(rule for rule in config.alerts.rules if rule.name == "device-silent").limit == 3600.0
