"""Where the lab keeps what it fetched and made, and how it says what it does."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAB = Path(os.environ.get("ARM_LAB") or ROOT / ".arm-lab").absolute()


class LabError(Exception):
    """Something that the lab needs is missing, or a step of it failed. The words say what to do next."""


def say(words: str) -> None:
    """Print a line of progress."""
    print(f"arm-lab: {words}", file=sys.stderr, flush=True)


def made(target: Path, key: str, how: Callable[[Path], None], words: str) -> Path:
    """Return `target`, made by `how` unless it is there already, of the same `key`.

    It is made beside its place and moved there, so what is there is whole, however the last run ended.
    """
    stamp = target.with_name(target.name + ".key")
    if target.exists() and stamp.is_file() and stamp.read_text() == key:
        return target
    say(words)
    beside = target.with_name(target.name + ".new")
    run(["rm", "-rf", str(beside), str(target)])
    beside.mkdir(parents=True)
    how(beside)
    beside.rename(target)
    stamp.write_text(key)
    return target


def run(
    command: Sequence[str], cwd: Path | None = None, log: Path | None = None, env: dict[str, str] | None = None
) -> None:
    """Run `command`; what it prints goes to `log`. Raises LabError with its last line when it fails."""
    into = LAB / "last.log" if log is None else log
    into.parent.mkdir(parents=True, exist_ok=True)
    with into.open("a+") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        began = file.tell()
        done = subprocess.run(
            command,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            return
        file.seek(began)
        lines = [line.strip() for line in file if line.strip()]
    raise LabError(
        f"{command[0]} ended with {done.returncode}: {lines[-1] if lines else 'without a word'} (more in {into})"
    )


def listened(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run `command`; return its exit code, what it printed, and the last line of its errors.

    Errors go to `log`, and those of the lab's own scripts to the terminal as well. The command ends with this process.
    """
    last = ""
    with (
        log.open("a") as into,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running,
    ):
        assert running.stdout is not None and running.stderr is not None
        try:
            for line in running.stderr:
                into.write(line)
                last = line.strip() or last
                if line.startswith("arm-lab: "):
                    print(line, end="", file=sys.stderr, flush=True)
            said = running.stdout.read()
            return running.wait(), said, last or "without a word"
        finally:
            running.kill()
