"""A benchmark by command, with real workers: what serves answers on while it is measured beside."""

import time
from pathlib import Path

from edgefleet_agent.benching import Benching
from edgefleet_agent.serve.launcher import ProcessLauncher
from tests.fakes.probe import FakeProbe
from tests.fakes.served import ask_golden, ready, until, write_model


def test_what_serves_answers_on_while_it_is_measured_in_a_worker_of_its_own(tmp_path: Path) -> None:
    launcher = ProcessLauncher(tmp_path / "run")
    benching = Benching(launcher, FakeProbe())
    try:
        spec = write_model(tmp_path / "model")
        worker = launcher.start(spec)
        ready(worker)
        worker.accept()
        assert benching.begin(spec, time.monotonic()) is None
        assert benching.model == "fashion"
        assert (
            benching.begin(spec, time.monotonic()) == "fashion is being measured already: ask again when that is done"
        )
        answers = []

        def done() -> bool:
            assert ask_golden(launcher, spec, 10.0) is None
            found = benching.poll(time.monotonic())
            answers.extend([found] if found is not None else [])
            return bool(answers)

        until(done, "the measurement ends")
        (answer,) = answers
        assert answer.ok, answer.text
        assert 0 < float(answer.facts["latency_p50_s"]) <= float(answer.facts["latency_p95_s"])
        assert int(answer.facts["memory_bytes"]) > 1_000_000 and "energy_j" not in answer.facts
        assert worker.poll() == "ready" and ask_golden(launcher, spec, 10.0) is None
    finally:
        benching.stop()
        launcher.close()
