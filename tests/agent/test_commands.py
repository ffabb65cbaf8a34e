"""The configuration and the command line: what is refused, and with which words and exit code."""

import argparse
import fcntl
import os
import re
from pathlib import Path

import pytest

from edgefleet_agent import config, enrol_commands
from edgefleet_agent.commands import EXIT_CODES, _parser, main
from edgefleet_agent.errors import AgentError, AlreadyRuns, BadConfig
from edgefleet_agent.link.standing import Standing
from edgefleet_agent.link.tls import client_context
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


def test_every_path_is_absolute_however_the_file_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children start in `/`: a path that is relative to where the agent was started would lead them astray."""
    more = "[broker]\nca = 'ca.pem'\ncertificate = 'c.pem'\nkey = 'k.pem'\n[hardware]\nroot = 'board'\n"
    (tmp_path / "board").mkdir()
    write(tmp_path, GOOD + more)
    monkeypatch.chdir(tmp_path.parent)
    loaded = config.load(Path(tmp_path.name) / "agent.toml")
    assert (loaded.root, loaded.state, loaded.run) == (tmp_path / "root.json", tmp_path / "state", tmp_path / "run")
    assert (loaded.broker.ca, loaded.broker.certificate) == (tmp_path / "ca.pem", tmp_path / "c.pem")
    assert (loaded.broker.key, loaded.hardware.root) == (tmp_path / "k.pem", tmp_path / "board")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("colour = 1\n", "colour is no key that the agent knows; the file takes fleet, device, root, state, run"),
        ("[broker]\nhots = 'x'\n", r"broker.hots is no key .* is host meant\? \[broker\] takes host, port"),
        ("[broker]\nport = 'x'\n", "broker.port is 'x' and must be a whole number"),
        ("[serve]\ndrain_s = 'x'\n", "serve.drain_s is 'x' and must be a number"),
        ("[broker]\nca = 5\n", "broker.ca is 5 and must be a path in quotes"),
        ("state = 5\n", "state is 5 and must be a path in quotes"),
        ("limits = 5\n", r"limits is 5 and must be a \[section\]"),
        ("[hardware]\nroot = 'none'\n", "hardware.root is .*none and there is no such folder"),
        ("[broker]\nkeepalive_s = 10\n", "at least 60"),
        ("[broker]\nport = 99999\n", "broker.port is 99999; a port is a number up to 65535"),
        ("[serve]\ngateway_port = -1\n", "serve.gateway_port is -1; a port is"),
        ("[fetch]\npatience_s = 0.5\n", "at least 1"),
        ("[broker]\nkey = 'k.pem'\n", "belong together"),
        ("[broker]\nkeepalive_s = 70000\n", "broker.keepalive_s is 70000 and must be from 60 to 65535"),
        ("[broker]\nhost = ''\n", "broker.host is '', which is no host"),
        (f"[broker]\nhost = '{'x' * 64}.example'\n", "broker.host is 'x+.example', which is no host"),
        ("[fetch]\npatience_s = inf\n", "fetch.patience_s is inf and must be from 1"),
        ("[serve]\nthreads = -5\n", "serve.threads is -5 and must be from 0"),
        ("[serve]\ndrain_s = nan\n", "serve.drain_s is nan and must be from 0"),
        ("[serve]\ngolden_deadline_s = 0\n", "serve.golden_deadline_s is 0 and must be from 0.1"),
        ("[serve]\nallow_uids = [-1]\nloopback = false\n", "serve.allow_uids names -1"),
        ("[limits]\nreserve_bytes = -1\n", "limits.reserve_bytes is -1 and must be from 0"),
        ("[hardware]\nsensors = 'ina219'\n", r"hardware.sensors is 'ina219' and must be a list"),
        ('[network]\nmetered = ["a\\u0000b"]\n', r"network.metered\[0\] is 'a\\x00b', and no text may hold a NUL"),
        ("state = 'agent.toml'\n", "state is .*agent.toml, which is a file: name a folder"),
    ],
)
def test_a_key_that_is_not_known_or_wrong_is_refused_by_name(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path, GOOD + line)
    with pytest.raises(BadConfig, match=words) as refused:
        config.load(path)
    assert str(refused.value).startswith(f"{path}: ") and "docs/reference/configuration.md" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace('fleet = "demo"\n', ""), 'fleet is missing; write, say, fleet = "demo"'),
        ("", "fleet and device and root are missing"),
        (GOOD.replace('"demo"', "7"), "fleet is 7 and must be a text in quotes"),
    ],
)
def test_a_key_that_is_lacking_is_asked_for_by_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        config.load(write(tmp_path, text))


def test_a_run_folder_that_no_socket_fits_into_is_refused_at_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root.json").write_text("{}")
    long = "r" * 100
    assert main(["run", "--config", str(write(tmp_path, GOOD + f"run = '{long}'\n"))]) == 2
    said = capsys.readouterr().err
    assert f"has {len(str(tmp_path / long))} bytes and may have 89" in said
    assert not (tmp_path / "state").exists()


def test_a_device_that_cannot_be_named_so_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot name a device"):
        config.load(write(tmp_path, GOOD.replace("pi-1", "Pi#1")))


def test_a_bad_configuration_is_exit_code_2_with_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_pipe_in_the_place_of_the_configuration_is_refused_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "agent.toml")
    assert main(["status", "--config", str(tmp_path / "agent.toml")]) == 2
    assert "agent.toml cannot be read: it is no regular file" in capsys.readouterr().err


def test_a_file_that_is_nested_beyond_reading_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="is not TOML"):
        config.load(write(tmp_path, f"x = {'[' * 5000}"))


@pytest.mark.parametrize("text", [None, "no PEM"])
def test_an_authority_that_cannot_be_read_is_named_with_its_key(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(AgentError, match=r"broker.ca is .*ca.pem, and it is no authority's certificate in PEM: \w"):
        client_context(tmp_path / "ca.pem", None, None)


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
    assert list(tmp_path.iterdir()) == [path], "a verb that reads makes no file and no folder"


def test_status_changes_nothing_in_a_state_that_is_there(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    (tmp_path / "state/documents").mkdir(parents=True)
    (tmp_path / "state/facts.json").write_text("not json")
    (tmp_path / "state/documents/half.tmp").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert main(["status", "--config", str(path)]) == main(["explain", "--config", str(path)]) == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (Standing(broker="hub:1883", connected=True, since=100.0), "connected to the broker at hub:1883 for 40 s"),
        (
            Standing(broker="hub:1883", connected=False, since=20.0, why="Connection refused"),
            "no broker at hub:1883 for 2 min: Connection refused",
        ),
    ],
)
def test_status_says_how_it_stands_with_the_broker(standing: Standing, words: str) -> None:
    assert standing.words(140.0) == words


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


def test_a_status_that_looks_just_when_an_agent_starts_does_not_keep_it_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "agent.lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr("edgefleet_agent.loop.time.sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        with only_one(tmp_path):
            assert is_running(tmp_path)


@pytest.mark.parametrize("verb", [[], ["run"], ["status"], ["explain"], ["pin"], ["hold"], ["release"]])
def test_help_describes_every_option_and_exit_code(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    codes = said[said.index("exit codes:") :].splitlines()[1:]
    assert [line.split()[0] for line in codes] == ["0", "1", "2", "3", "4", "5", "130"]
    parser = _parser()
    verbs = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction)).choices
    assert all(option.help for one in verbs.values() for option in one._actions)


def test_an_option_that_is_not_known_is_exit_code_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--config", "x", "--json"])
    assert ended.value.code == 2


def test_the_readme_names_the_exit_codes_that_there_are() -> None:
    text = (Path(__file__).resolve().parents[2] / "agent/README.md").read_text()
    said = text[text.index("All end with") : text.index("130 interrupted") + 3]
    helped = {
        line.split()[0] for line in (EXIT_CODES + enrol_commands.EXIT_CODES).splitlines() if line.strip()[:1].isdigit()
    }
    assert set(re.findall(r"(?<!\w)\d+(?!\w)", said)) == helped


def test_a_release_where_no_agent_ran_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.toml").write_text('fleet = "demo"\ndevice = "porch-1"\nroot = "root.json"\nstate = "none"\n')
    assert main(["release", "fashion", "--config", str(tmp_path / "agent.toml")]) == 3
    assert "no agent has run with this configuration yet" in capsys.readouterr().err


def test_a_name_that_no_model_has_and_an_option_that_nothing_can_do_are_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text(GOOD)
    assert main(["release", "Bad Name", "--config", str(tmp_path / "agent.toml")]) == 3
    assert "cannot name a model" in capsys.readouterr().err
    for option in ("--port=99999", "--port=x", "--threads=0"):
        with pytest.raises(SystemExit) as ended:
            main(["dev", str(tmp_path), option])
        assert ended.value.code == 2 and option[2:6] in capsys.readouterr().err
