"""Looks in a short-lived child. Imports nothing of python-tuf, so that the control agent stays small."""

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from .look_wire import MAX_BYTES, decode_answer, encode_request
from .seams import Looked, LookRequest, Missing, Refused

WALL_LIMIT_S = 60.0
"""A look takes half a second on a desk, most of it imports, and a few on the slowest board."""


class LookFailed(Exception):
    """The child ended without an answer: killed, out of memory, or a bug. Nothing was judged; look again later."""


class ChildLooker:
    """Starts one child for each look.

    run_folder: where the child may write, best in memory; what it wrote is gone when the look is over.
    """

    def __init__(self, run_folder: Path, wall_limit_s: float = WALL_LIMIT_S) -> None:
        # Absolute: the child starts in another folder than the agent did.
        self._run, self._limit_s = run_folder.absolute(), wall_limit_s

    def look(self, request: LookRequest) -> Looked | Missing | Refused:
        """Return what may be obeyed; raise LookFailed when the child could not say."""
        try:
            question = encode_request(request)
        except ValueError as error:
            raise LookFailed(f"the look cannot be asked for: {error}") from error
        # The folder is ours and not the child's, so that a child that was killed leaves nothing behind.
        with tempfile.TemporaryDirectory(prefix="look-", dir=self._run) as folder, tempfile.TemporaryFile() as errors:
            command = [sys.executable, "-m", "edgefleet_agent.look_child", folder]
            # cwd: `-m` puts the working directory first on the import path; nobody but root writes to /.
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd="/")
            late = threading.Event()

            def stop() -> None:
                late.set()
                child.kill()

            timer = threading.Timer(self._limit_s, stop)
            timer.start()
            try:
                answer = _talk(child, question)
                code = child.wait()
            finally:
                timer.cancel()
                child.kill()
                child.wait()
            errors.seek(0)
            last = errors.read(100_000).decode(errors="replace").strip().splitlines()[-1:]
        if late.is_set():
            raise LookFailed(f"the look took longer than {self._limit_s:.0f} s and was stopped")
        if code != 0:
            raise LookFailed(f"the look ended with {_ending(code)}: {last[0] if last else 'it said nothing'}")
        try:
            return decode_answer(answer)
        except ValueError as error:
            raise LookFailed(f"the look gave an answer that cannot be read: {error}") from error


def _talk(child: "subprocess.Popen[bytes]", question: bytes) -> bytes:
    """Return what the child says. It reads all before it writes, so neither waits for the other."""
    assert child.stdin is not None and child.stdout is not None
    with child.stdout:
        try:
            with child.stdin:
                child.stdin.write(question)
        except BrokenPipeError:
            return b""  # it died first; its exit code says how
        return child.stdout.read(MAX_BYTES + 1)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
