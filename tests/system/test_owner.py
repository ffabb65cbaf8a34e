"""The owner's verbs as real commands beside a real agent: with it, without it, without network, and where they are not allowed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.switch import MODEL, Device, _ask_once, switch

EDGEFLEET = Path(sys.executable).with_name("edgefleet")
WITHOUT_POWERS = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
"""So that permissions bind this user, even root."""
NOBODY = 65534


class Owner:
    """Somebody at the device's terminal."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def types(self, verb: str, *words: str, powers: bool = True) -> "subprocess.CompletedProcess[str]":
        command = [str(EDGEFLEET), "agent", verb, *words, "--config", str(self.device.folder / "agent.toml")]
        before = [] if powers else [sys.executable, "-c", WITHOUT_POWERS]
        environment = {name: value for name, value in os.environ.items() if name != "SUDO_USER"}
        return subprocess.run([*before, *command], capture_output=True, text=True, timeout=60, env=environment)

    def said(self, code: int, verb: str, *words: str) -> str:
        """Return what a command says on the stream that its exit code belongs to."""
        done = self.types(verb, *words)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert not (done.stdout if code else done.stderr)
        return done.stderr if code else done.stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.said(0, "status", "--json"))
        return found

    def serving(self) -> str | None:
        """Return the release that answers; None while none does."""
        try:
            return _ask_once(self.device.folder / f"run/{MODEL}.sock", [0.5, 0.25, 1.0, 0.0])[0]
        except OSError:  # the agent starts, and has not bound its socket yet
            return None


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    with tempfile.TemporaryDirectory(prefix="owner-") as folder, Device(Path(folder)) as device:
        yield Owner(device)


def test_the_owners_word_is_above_the_fleets_with_and_without_agent_and_network(owner: Owner) -> None:
    device = owner.device
    device.until(lambda: (device.folder / "run/state.json").exists(), "the agent tells its state")
    assert "fashion is no model of this device; it knows none yet" in owner.said(3, "hold", "fashion")
    assert "nothing is wished of this device yet" in owner.said(0, "explain")
    switch(device, "fashion/1")

    # A hold: nothing new comes, everybody says so, and it ends by itself.
    ends = datetime.now() + timedelta(seconds=4)
    held = owner.said(0, "hold", "fashion", "--until", ends.isoformat())
    assert held.startswith("fashion: held by ") and "the agent notices it" in held
    device.wish("fashion/2")
    device.until(lambda: any(row.held for row in device.models()), "the server knows of the hold")
    for verb in ("status", "explain"):
        assert "held      held by " in owner.said(0, verb)
    assert owner.serving() == "fashion/1"
    device.until(lambda: device.runs("fashion/2"), "the hold is over")
    assert datetime.now() > ends

    # A pin, while the agent is down and the broker is away: the agent goes back by what is on its disk.
    device.stop_agent()
    device.broker.kill()
    assert not owner.status()["running"]
    row = json.loads(owner.said(0, "pin", "fashion", "fashion/1", "--json"))
    assert (row["model"], row["pinned"]) == ("fashion", "fashion/1")
    words = owner.said(0, "status")
    assert "the agent does not run" in words and "pinned    fashion/1 is pinned by " in words
    device.start_agent()
    device.until(lambda: owner.serving() == "fashion/1", "the pinned release serves")
    assert owner.status()["broker"]["connected"] is False
    assert "so fashion/2 is not followed" in owner.said(0, "explain")

    # Released: rollouts decide again.
    assert "fashion: released, rollouts decide again" in owner.said(0, "release", "fashion")
    device.stop_agent()  # it would notice within half a minute
    device.start_agent()
    device.until(lambda: owner.serving() == "fashion/2", "the fleet's release serves")
    assert "pinned" not in owner.said(0, "status")


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        (3, "pin nosuch --current", "nosuch is no model of this device; it knows fashion"),
        (3, "pin fashion fashion/9", "fashion/9 is not on this device; of fashion there are fashion/"),
        (3, "pin fashion ../../etc", "../../etc"),
        (3, "hold Fashion/..", "Fashion/.."),
        (2, "pin fashion", "one of the arguments RELEASE --current is required"),
        (2, "hold fashion --for 8x", "write a number and m, h or d, as in 8h"),
        (2, "hold fashion --for 900d", "it must be ahead, and within a year"),
        (2, "hold fashion --until 2020-01-01T00:00", "it must be ahead, and within a year"),
        (2, "hold fashion --until tomorrow", "write a date and a time, as in 2027-01-15T22:00"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can_be_and_changes_nothing(
    owner: Owner, code: int, line: str, words: str
) -> None:
    before = (owner.device.folder / "state/owner.json").read_bytes()
    assert words in owner.said(code, *line.split())
    assert (owner.device.folder / "state/owner.json").read_bytes() == before


@pytest.mark.parametrize("mode", [0o755, 0o750], ids=["to-be-read", "not-even-to-be-read"])
@pytest.mark.parametrize("line", ["pin fashion --current", "hold fashion", "release fashion"])
def test_who_may_not_write_the_state_decides_nothing(owner: Owner, line: str, mode: int) -> None:
    state = owner.device.folder / "state"
    before, (uid, gid, bits) = (state / "owner.json").read_bytes(), _whose(state)
    if os.getuid() == 0:
        os.chown(state, NOBODY, NOBODY)
        state.chmod(mode)
    else:
        state.chmod(mode & 0o555)  # one's own, and as closed as another's
    try:
        done = owner.types(*line.split(), powers=False)
    finally:
        if os.getuid() == 0:
            os.chown(state, uid, gid)
        state.chmod(bits)
    assert done.returncode == 4, (done.returncode, done.stdout, done.stderr)
    assert "decides about this device's models" in done.stderr and "Permission denied" in done.stderr
    assert (state / "owner.json").read_bytes() == before


def _whose(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o777
