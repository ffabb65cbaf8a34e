"""The lines of `agent run`: one for each event, in its own words, fit for where they go."""

import io
import logging
import os
from pathlib import Path

import pytest

from edgefleet_agent.log import Lines, level_of
from edgefleet_protocol.topics import Topics
from tests.fakes.device import FLEET, FakeDevice, FakeHub, assign, fleet, package, proven


def record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("edgefleet.agent", level, "", 0, text, (), None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_time_of_day_and_a_pipe_the_bare_line() -> None:
    assert Lines(io.StringIO()).format(record("hello")) == "hello"
    clock, _, text = Lines(Terminal()).format(record("hello")).partition(" ")
    assert text == "hello" and len(clock) == len("12:34:56")


def test_the_journal_gets_priorities_and_a_file_beside_it_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "file").open("w") as file:
        info = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{info.st_dev}:{info.st_ino}")
        assert Lines(journal).format(record("refused: x", logging.WARNING)) == "<4>refused: x"
        assert Lines(file).format(record("refused: x", logging.WARNING)) == "refused: x"


def test_what_others_sent_stays_in_its_line() -> None:
    assert Lines(io.StringIO()).format(record("a\x1b[2Jb\nstopped")) == "a [2Jb stopped"


@pytest.mark.parametrize("kind", ["worker-died", "trial-failed", "refused", "fell-back", "store-damaged"])
def test_troubles_are_warnings(kind: str) -> None:
    assert level_of(kind) == logging.WARNING
    assert level_of("activated") == logging.INFO


def running() -> tuple[FakeDevice, FakeHub]:
    device, hub = fleet()
    hub.publish(package(1))
    hub.roll_out(assign(package(1)))
    device.boot().run(until=proven(package(1)))
    return device, hub


def test_each_event_and_each_passed_look_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgefleet.agent")
    device, _ = running()
    said = [row.getMessage() for row in caplog.records]
    for event in device.events():
        about = f"{event.model}: " if event.model else ""
        assert said.count(f"{about}{event.kind}: {event.text}") == 1
    assert any(line.startswith("verified: ") for line in said)


def test_the_death_of_a_worker_is_a_warning_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    device, _ = running()
    worker = device.launcher.answering("fashion")
    assert worker is not None
    worker.dead = "killed by SIGKILL"
    device.run(until=lambda one: one.serving() == "fashion/1")
    told = [row.getMessage() for row in caplog.records if row.levelno == logging.WARNING]
    assert told == ["fashion: worker-died: the worker of fashion/1 died: killed by SIGKILL"]


def test_a_trust_problem_is_told_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgefleet.agent")
    device, hub = running()
    topic = Topics(FLEET).trust("timestamp.json")
    old = device.broker.retained[topic]
    hub.publish(package(2))
    hub.roll_out(assign(package(2)))
    device.run(until=proven(package(2)))
    device.broker.publish(topic, old, retain=True)
    device.run(until=lambda one: any(row.getMessage().startswith("refused: ") for row in caplog.records))
    hub.publish(package(3))
    hub.roll_out(assign(package(3)))
    device.run(until=proven(package(3)))
    said = [row.getMessage() for row in caplog.records]
    begins = [at for at, line in enumerate(said) if line.startswith("refused: ")]
    ends = [at for at, line in enumerate(said) if line.startswith("trust: verified again")]
    assert len(begins) == len(ends) == 1 and begins < ends
