"""The documentation says what is so: commands exist with the options that are shown, links lead somewhere."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgefleet_agent import config as agent_config
from edgefleet_protocol.rollout import Policy
from edgefleet_server import config as server_config
from edgefleet_server import keeping
from edgefleet_server.alerts import config as alerts_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = re.compile(r"^(?:\$ )?(edgefleet (?:[^\n\\]|\\\n)*)", re.MULTILINE)
BLOCK = re.compile(r"```(?:console|sh|shell|bash)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")


def commands() -> list[tuple[str, ...]]:
    """Return each distinct `edgefleet …` command of the pages: its words before options, then the options."""
    found: dict[tuple[str, ...], None] = {}
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            for line in COMMAND.findall(block):
                words = shlex.split(line.split(" #")[0].split(" |")[0].split(" >")[0].rstrip("&").replace("\\\n", " "))
                found[tuple(words[1:])] = None
    return list(found)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_in_the_docs_exists_with_its_options(command: tuple[str, ...]) -> None:
    deep = 3 if command[0] == "server" and command[1] != "run" else 2  # `server identity init`
    nouns = [word for word in command[:deep] if not word.startswith("-")]
    verb = nouns if nouns[0] != "demo" else nouns[:1]
    answer = subprocess.run(
        [sys.executable, "-m", "edgefleet", *verb, "--help"], capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    for word in command:
        if word.startswith("--") and word != "--help":
            assert word.split("=")[0] in answer.stdout, f"{word} is not an option of edgefleet {' '.join(verb)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_make_target_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            for target in TARGET.findall(block):
                assert target in targets, f"{page.name} names make {target}"


def test_nothing_in_the_repository_depends_on_another_place() -> None:
    """A user has the repository and nothing else."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        path = ROOT / name
        if (
            path.suffix in {".md", ".py", ".toml", ".txt", ".cfg", ""}
            and path.is_file()
            and name != "tests/test_docs.py"
        ):
            assert "../shared" not in path.read_text(errors="replace"), name


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text()
    sections = (
        agent_config.Broker,
        agent_config.HardwareRoots,
        agent_config.HomeAssistant,
        agent_config.Network,
        agent_config.Serve,
        agent_config.Fetch,
        agent_config.Limits,
        agent_config.Config,
    )
    names = {name for section in sections for name in section.__struct_fields__} - {
        "broker",
        "hardware",
        "serve",
        "fetch",
        "limits",
        "network",
        "home_assistant",
    }
    names |= set(Policy.__struct_fields__)
    for section in (
        server_config.BrokerConfig,
        server_config.HttpConfig,
        server_config.RolloutConfig,
        server_config.KeepConfig,
        server_config.DatabaseConfig,
        server_config.IngestConfig,
        keeping.RegionKeep,
        server_config.IdentityConfig,
        server_config.EnrolmentConfig,
        alerts_config.AlertsConfig,
        alerts_config.WebhookConfig,
        alerts_config.MailConfig,
        server_config.ServerConfig,
    ):
        names |= {field.name for field in dataclasses.fields(section)} - {
            "policies",
            "region_keeps",
            "broker",
            "http",
            "database",
            "ingest",
            "rollouts",
            "keep",
            "identity",
            "enrolment",
            "alerts",
            "rules",
            "webhook",
            "mail",
        }
    missing = [name for name in sorted(names) if not re.search(rf"`(?:[a-z_]+\.)*{name}[`,]", page)]
    assert not missing
