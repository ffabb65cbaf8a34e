"""A load generator: real requests at a steady rate, each answer checked, until it is told to stop."""

import argparse
import json
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from .answers import Answers, Floats
from .errors import ClientError, ModelNotServed, NoAnswer, ServerBusy
from .model import Model

RECENT = 2000
"""Requests whose times make the percentiles."""


@dataclass
class Tally:
    """What became of the requests. `failed` is the sum of all that went wrong."""

    sent: int = 0
    refused: int = 0
    timed_out: int = 0
    wrong: int = 0
    broken: int = 0
    """Any other error: an answer cut off, an error of the model."""
    last_error: str | None = None
    releases: dict[str, int] = field(default_factory=dict)
    """Right answers by release and variant."""
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def error(self, error: ClientError) -> None:
        """Count a request that got no answer."""
        if isinstance(error, NoAnswer):
            self.timed_out += 1
        elif isinstance(error, ServerBusy | ModelNotServed):
            self.refused += 1
        else:
            self.broken += 1
        self.last_error = str(error)

    def line(self, *, final: bool) -> dict[str, object]:
        """Return the figures as one object."""
        times = np.asarray(self.seconds)
        return {
            "sent": self.sent,
            "failed": self.refused + self.timed_out + self.wrong + self.broken,
            "refused": self.refused,
            "timed_out": self.timed_out,
            "wrong": self.wrong,
            "broken": self.broken,
            "last_error": self.last_error,
            "p50_s": float(np.quantile(times, 0.5)) if times.size else None,
            "p95_s": float(np.quantile(times, 0.95)) if times.size else None,
            "releases": self.releases,
            "final": final,
        }


class Generator:
    """Sends the inputs round and round."""

    def __init__(self, model: Model, inputs: Floats, answers: Answers, *, fresh: bool) -> None:
        self.tally = Tally()
        self._model, self._inputs, self._answers, self._fresh = model, inputs, answers, fresh
        self._next = 0

    def send(self) -> None:
        """Send one request and judge its answer."""
        index = self._next
        self._next = (index + 1) % len(self._inputs)
        self.tally.sent += 1
        try:
            if self._fresh:
                self._model.close()
            said = self._model.predict(self._inputs[index])
        except ClientError as error:
            self.tally.error(error)
            return
        self.tally.seconds.append(said.seconds)
        output = np.asarray(said.array, dtype=np.float32).reshape(-1)
        why = self._answers.wrong(index, output, said.release, said.variant)
        if why is not None:
            self.tally.wrong += 1
            self.tally.last_error = why
        else:
            who = f"{said.release} {said.variant}"
            self.tally.releases[who] = self.tally.releases.get(who, 0) + 1


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `load`."""
    parser = commands.add_parser(
        "load",
        help="send real requests at a steady rate and check each answer",
        description="Send real requests to a model on this device until SIGTERM, Ctrl-C or --seconds, and check each "
        "answer against the package of the release that gave it. Exit code 0 when all were right, 1 when any failed.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--socket", type=Path, help="the model's Unix socket; else that of --model in EDGEFLEET_RUN")
    where.add_argument("--url", help="http://127.0.0.1:PORT instead")
    parser.add_argument("--model", required=True, help="its name, as in fashion")
    parser.add_argument("--inputs", type=Path, required=True, help="raw little-endian float32, sample after sample")
    parser.add_argument("--shape", required=True, help="of one sample, as in 1,28,28")
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second; 0 as fast as it answers (10)")
    parser.add_argument("--answers", action="append", default=[], metavar="RELEASE=DIR",
        help="package of a release, as in fashion/1=DIR; may be given again, or several with commas between")  # fmt: skip
    parser.add_argument(
        "--answers-file", type=Path, help="JSON object, release to package folder, read again when it changes"
    )
    parser.add_argument("--max-abs", type=float, default=0.05,
        help="how far an output may be off: absolute, or times the spread of the expected outputs if that is above 1 (0.05)")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds until a request counts as timed out (30)")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for the first answer, uncounted (60)")
    parser.add_argument("--fresh", action="store_true", help="a new connection for each request")
    parser.add_argument("--seconds", type=float, help="stop after this long")
    parser.add_argument("--json-lines", action="store_true", help="a line of JSON each second, and one at the end")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Send until told to stop. Returns 0 when no request failed, 1 otherwise, 2 for a wrong command line."""
    try:
        inputs = read_inputs(given.inputs, given.shape)
        folders = parse_answers(given.answers)
        model = Model(
            given.model, url=given.url, socket=given.socket, timeout_s=given.timeout, wait_s=0.0
        )  # fmt: skip
    except (OSError, ValueError) as error:
        print(f"edgefleet_client load: {error}", file=sys.stderr)
        return 2
    answers = Answers(len(inputs), given.max_abs, folders, given.answers_file)
    generator = Generator(model, inputs, answers, fresh=given.fresh)
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    began = time.monotonic()
    while not stopped and not model.ready():
        if time.monotonic() >= began + given.wait:
            break  # the requests that follow say what is wrong, and count
        time.sleep(0.05)
    began = due = told = time.monotonic()
    while not stopped and (given.seconds is None or time.monotonic() < began + given.seconds):
        now = time.monotonic()
        if now - told >= 1.0:
            told = now
            say(generator.tally, as_json=given.json_lines, final=False)
        if now < due:
            time.sleep(min(due - now, 0.1))
            continue
        generator.send()
        # After a slow answer the rate goes on from now: a burst to catch up would be another load than was asked for.
        due = max(due + 1 / given.rate, time.monotonic() - 1 / given.rate) if given.rate > 0 else due
    model.close()
    say(generator.tally, as_json=given.json_lines, final=True)
    return 1 if generator.tally.line(final=True)["failed"] else 0


def read_inputs(path: Path, shape: str) -> Floats:
    """Return the samples in `path`; raise ValueError when they are not a whole number of `shape`."""
    try:
        sizes = [int(part) for part in shape.split(",")]
    except ValueError as error:
        raise ValueError(f"--shape {shape!r} is no list of numbers: write it as 1,28,28") from error
    values = np.fromfile(path, dtype="<f4")
    if not values.size or min(sizes) < 1 or values.size % int(np.prod(sizes)):
        raise ValueError(f"{path} has {values.size} numbers, which are no whole samples of {shape}")
    return values.reshape(-1, *sizes)


def parse_answers(given: list[str]) -> dict[str, Path]:
    """Return packages by release from `RELEASE=DIR[,RELEASE=DIR…]`; raise ValueError for anything else.

    A DIR alone stands for the release that its release.json names.
    """
    folders: dict[str, Path] = {}
    for part in (part for each in given for part in each.split(",") if part):
        release, equals, folder = part.partition("=")
        if not equals:
            release, folder = _release_in(Path(part)), part
        folders[release] = Path(folder)
    return folders


def _release_in(folder: Path) -> str:
    try:
        said = json.loads((folder / "release.json").read_text())
        return f"{said['model']}/{said['version']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is no package ({error}): write RELEASE=DIR, as in fashion/1=DIR") from error


def say(tally: Tally, *, as_json: bool, final: bool) -> None:
    """Print the figures; a reader that went away is no reason to stop sending."""
    line = tally.line(final=final)
    p95 = line["p95_s"]
    text = (
        json.dumps(line)
        if as_json
        else f"{line['sent']} sent, {line['failed']} failed, p95 {p95 * 1e3:.1f} ms"
        if isinstance(p95, float)
        else f"{line['sent']} sent, {line['failed']} failed: {line['last_error']}"
    )
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115, PTH123
