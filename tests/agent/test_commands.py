"""The configuration and the command line: what is refused, and with which words and exit code."""

from pathlib import Path

import pytest

from edgefleet_agent import config
from edgefleet_agent.commands import main
from edgefleet_agent.errors import AlreadyRuns, BadConfig
from edgefleet_agent.loop import is_running, only_one
from edgefleet_agent.status import status_words
from edgefleet_protocol.messages import DeviceState, Failure, ModelState, Running

GOOD = 'fleet = "demo"\ndevice = "pi-1"\nroot = "root.json"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, GOOD))
    assert loaded.state == tmp_path / "state" and loaded.root == tmp_path / "root.json"
    assert loaded.hardware.root == Path("/")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("colour = 1\n", "colour"),
        ("[broker]\nhots = 'x'\n", "hots"),
        ("[broker]\nport = 'x'\n", "broker.port"),
        ("[broker]\nkeepalive_s = 10\n", "at least 60"),
        ("[fetch]\npatience_s = 0.5\n", "at least 1"),
        ("[broker]\nkey = 'k.pem'\n", "belong together"),
    ],
)
def test_a_key_that_is_not_known_or_wrong_is_refused_by_name(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        config.load(write(tmp_path, GOOD + line))


def test_a_device_that_cannot_be_named_so_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot name a device"):
        config.load(write(tmp_path, GOOD.replace("pi-1", "Pi#1")))


def test_a_bad_configuration_is_exit_code_2_with_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_run_without_a_pinned_root_says_what_to_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(write(tmp_path, GOOD))]) == 2
    assert "1.root.json" in capsys.readouterr().err


def test_status_and_explain_of_a_device_that_was_never_started_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD)
    assert main(["status", "--config", str(path)]) == 0
    assert "does not run" in capsys.readouterr().out
    assert main(["explain", "--config", str(path)]) == 0
    assert "nothing is wished" in capsys.readouterr().out
    assert not (tmp_path / "state" / "facts.json").exists()


def test_one_agent_holds_a_state_folder(tmp_path: Path) -> None:
    with only_one(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(AlreadyRuns), only_one(tmp_path):
            pass
    assert not is_running(tmp_path)


def test_status_is_one_fact_a_line_in_columns_and_prints_nothing_that_a_terminal_would_obey() -> None:
    runs = Running(release="fashion/2", release_sha256="ab" * 32, variant="int8", variant_sha256="cd" * 32, since_s=0.0)
    failure = Failure(
        release="fashion/3", release_sha256="ef" * 32, variant="int8", stage="trial", reason="it said \x1b[2J", at_s=0.0
    )
    model = ModelState(
        model="fashion",
        phase="failed",
        why="fashion/3 failed here",
        wanted="fashion/3",
        running=runs,
        chosen="int8",
        chosen_why="the fastest",
        failures=(failure,),
    )
    state = DeviceState(
        device="pi-1",
        session=1,
        boot="b",
        at_s=0.0,
        agent_version="0.1.0",
        region="eu-west",
        rollout_serial=3,
        models=(model,),
    )
    assert status_words(state, is_running=True).splitlines() == [
        "pi-1: the agent runs",
        "  region    eu-west, rollout 3",
        "  received  0.00 MB of chunks",
        "",
        "fashion: failed",
        "  now       fashion/3 failed here",
        "  serves    fashion/2 (int8)",
        "  wished    fashion/3 (int8), the fastest",
        "  failed    fashion/3 (int8) in its trial: it said  [2J",
    ]
