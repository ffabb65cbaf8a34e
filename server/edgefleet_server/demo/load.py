"""Real requests against every device, for as long as the demo runs."""

import json

from .cast import DEVICES, MODEL, REQUESTS_PER_S
from .layout import Layout
from .outcome import Requests
from .processes import Processes


def start(layout: Layout, processes: Processes) -> None:
    """Start one load generator for each device; each waits until its device serves."""
    shape = json.loads((layout.package(1) / "check/check.json").read_text())["shape"]
    for player in DEVICES:
        processes.start(
            f"load-{player.id}",
            [
                "edgefleet_client",
                "load",
                "--socket",
                str(layout.run(player) / f"{MODEL}.sock"),
                "--model",
                MODEL,
                "--inputs",
                str(layout.package(1) / "check/inputs.f32"),
                "--shape",
                ",".join(str(size) for size in shape[-3:]),
                "--rate",
                str(REQUESTS_PER_S),
                "--answers-file",
                str(layout.answers),
                "--wait",
                "600",
                "--json-lines",
            ],
        )


def know_answers(layout: Layout, releases: dict[str, int]) -> None:
    """Tell the generators which package holds the right answers of which release."""
    told = {release: str(layout.package(number)) for release, number in releases.items()}
    beside = layout.answers.with_suffix(".new")
    beside.write_text(json.dumps(told))
    beside.replace(layout.answers)


def count(layout: Layout) -> tuple[Requests, str | None]:
    """Return what was sent and failed so far, by the generators' last lines, and the last error of any."""
    sent = failed = 0
    error: str | None = None
    for player in DEVICES:
        log = layout.logs / f"load-{player.id}.log"
        lines = [line for line in log.read_text().splitlines() if line.startswith("{")] if log.exists() else []
        if lines:
            last = json.loads(lines[-1])
            sent, failed = sent + last["sent"], failed + last["failed"]
            error = last["last_error"] or error
    return Requests(sent, failed), error
