"""What a person at the device is told, and what a bundle for helpers must never hold."""

import io
import json
import socket
import tarfile
from pathlib import Path

import pytest

from edgefleet_agent import config as configuration
from edgefleet_agent.bundle import bundle
from edgefleet_agent.check import Finding, exit_code, findings
from edgefleet_agent.commands import main
from edgefleet_agent.enrol_seed import Seed, save
from edgefleet_agent.identity_crypto import new_key
from edgefleet_agent.serve.probing import DOOR
from edgefleet_protocol.hardware import Hardware
from tests.fakes.socket_unit import SocketUnit

TOKEN = "ef1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.c2VjcmV0c2VjcmV0c2VjcmV0"
HARDWARE = Hardware(board="generic", hardware_class="generic-x86", arch="x86_64", features=(), cores=2, memory_bytes=10**9,
                    storage_bytes=10**9, os="Debian", python="3.11", runtimes=())  # fmt: skip


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text('fleet = "demo"\ndevice = "pi-1"\nroot = "root.json"\n[broker]\nport = 9\n')
    return path


def parts(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {row.name: tar.extractfile(row) for row in tar.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_a_bundle_holds_no_key_and_no_token(tmp_path: Path, toml: Path) -> None:
    config = configuration.load(toml)
    key = new_key()
    (config.state / "identity").mkdir(parents=True)
    (config.state / "identity/key.pem").write_bytes(key)
    save(config.state, Seed(url="https://h", token=TOKEN))
    found = parts(bundle(config, HARDWARE))
    everything = b"".join(found.values())
    assert b"PRIVATE KEY" not in everything and TOKEN.encode() not in everything
    assert all(line not in everything for line in key.splitlines() if line)
    assert b"identity/key.pem" in found["edgefleet-diag/files.txt"]
    assert {"edgefleet-diag/status.txt", "edgefleet-diag/check.txt", "edgefleet-diag/about.json"} <= set(found)


def test_a_bundle_that_would_be_too_long_says_what_it_left_out(toml: Path) -> None:
    data = bundle(configuration.load(toml), HARDWARE, limit_bytes=1500)
    assert len(data) <= 1500 and parts(data)["edgefleet-diag/left-out.txt"]


def test_a_broker_that_is_down_is_a_failure_and_one_that_answers_is_not(tmp_path: Path, toml: Path) -> None:
    levels = {row.name: row.level for row in findings(configuration.load(toml))}
    assert levels["broker"] == "failed" and levels["dns"] == levels["clock"] == "ok"
    with socket.create_server(("127.0.0.1", 0)) as server:
        toml.write_text(toml.read_text().replace("port = 9", f"port = {server.getsockname()[1]}"))
        assert {row.name: row.level for row in findings(configuration.load(toml))}["broker"] == "ok"


def test_a_jetson_whose_runtime_has_no_cuda_is_told_loudly(tmp_path: Path, toml: Path) -> None:
    tree = tmp_path / "board/sys/firmware/devicetree/base"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    toml.write_text(toml.read_text() + '[hardware]\nroot = "board"\n')
    row = next(row for row in findings(configuration.load(toml)) if row.name == "gpu")
    assert row.level == "warning" and "no CUDA provider" in row.words


def test_a_root_that_forgets_at_reboot_is_warned_of_and_an_ordinary_system_is_named(tmp_path: Path, toml: Path) -> None:
    board = tmp_path / "board"
    for folder in ("proc", "etc"):
        (board / folder).mkdir(parents=True)
    (board / "proc/mounts").write_text("overlay / overlay rw,lowerdir=/lower,upperdir=/upper/upper 0 0\n")
    (board / "etc/os-release").write_text('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    toml.write_text(toml.read_text() + '[hardware]\nroot = "board"\n')
    for cmdline, level, words in (("boot=overlay", "warning", "gone at reboot"), ("quiet", "ok", "bookworm")):
        (board / "proc/cmdline").write_text(cmdline + "\n")
        row = next(row for row in findings(configuration.load(toml)) if row.name == "system")
        assert row.level == level and words in row.words


def test_a_named_plug_in_that_is_not_there_or_finds_nothing_is_told(tmp_path: Path, toml: Path) -> None:
    (tmp_path / "board/tmp").mkdir(parents=True)
    toml.write_text(toml.read_text() + '[hardware]\nroot = "board"\nsensors = ["pisugar", "no-such"]\n')
    said = [row.words for row in findings(configuration.load(toml)) if row.name == "sensors"]
    assert any("the plug-in pisugar finds nothing here" in words for words in said)
    assert any("no sensor plug-in is called no-such" in words for words in said)
    (tmp_path / "board/tmp/pisugar-server.sock").write_text("no socket")
    said = [row.words for row in findings(configuration.load(toml)) if row.name == "sensors"]
    assert any("the plug-in pisugar failed: ConnectionRefusedError" in words for words in said)


def test_the_limits_that_are_told_are_those_of_a_unit_where_workers_get_one(
    tmp_path: Path, toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> dict[str, Finding]:
        return {row.name: row for row in findings(configuration.load(toml))}

    monkeypatch.setenv(DOOR, str(tmp_path / "door"))
    assert "children of the agent, because there is no" in said()["worker units"].words
    with SocketUnit(tmp_path) as unit:
        assert said()["worker units"] == Finding(
            "worker units", "ok", f"each worker gets one, by {unit.door}; what is told next is of one"
        )
        assert len(unit.shells) == 1 and said()["memory limit"].words == "rlimit"
        unit.program = "raise SystemExit(1)"
        row = said()["worker units"]
        assert row.level == "warning" and "none came: systemd closed the line to it without a word" in row.words
        asked = len(unit.shells)
        toml.write_text(toml.read_text() + "[serve]\nloopback = false\nallow_uids = [7]\n")
        assert "know who asks" in said()["worker units"].words and len(unit.shells) == asked


def test_only_what_failed_makes_the_exit_code(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([Finding("a", "ok", ""), Finding("b", "warning", "")]) == 0
    assert main(["check", "--config", str(toml), "--json"]) == 1
    assert {row["level"] for row in json.loads(capsys.readouterr().out)} <= {"ok", "warning", "failed"}
