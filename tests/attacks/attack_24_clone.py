"""The card of an enrolled device is copied, and both are booted: two real agents with one key, which sign what they say."""

import shutil
import tempfile
import time
from pathlib import Path

from tests.fakes.enrolled_fleet import EnrolledFleet
from tests.fakes.fleet import Member

from .report import must

EXPECTED = "an alarm that names both within 5 minutes, and quarantine; none for a restart, or for damaged facts"
WITHIN_S = 300.0


def run(folder: Path) -> str:
    """Attack; return what was seen."""
    tempfile.tempdir = str(folder)
    try:
        with EnrolledFleet([Member("pi")]) as fleet:
            return _attack(fleet)
    finally:
        tempfile.tempdir = None


def _attack(fleet: EnrolledFleet) -> str:
    home, clone = fleet.agent_toml("pi").parent, fleet.folder / "clone"
    _restart(fleet)
    fleet.parts.stop("pi")
    (home / "state/facts.json").write_bytes(b"{torn")
    _start(fleet)
    must(fleet.device("pi")["alarm"] is None, f"a restart or damaged facts raised it: {fleet.device('pi')['alarm']}")
    # The card goes into a reader while the device is off; the copy goes into another board.
    fleet.parts.stop("pi")
    shutil.copytree(home, clone)
    board = fleet.folder / "board"
    shutil.copytree(fleet.members["pi"].root, board, symlinks=True)
    serial = board / "sys/firmware/devicetree/base/serial-number"
    serial.parent.mkdir(parents=True, exist_ok=True)
    serial.unlink(missing_ok=True)
    serial.write_bytes(b"the-thief\0")
    text = (home / "agent.toml").read_text()
    (clone / "agent.toml").write_text(text.replace(f'root = "{fleet.members["pi"].root}"', f'root = "{board}"'))
    must(_key(home) == _key(clone), "the copy has another key: the attack is not one")
    _start(fleet)
    began = time.monotonic()
    fleet.parts.start(
        "thief", ["edgefleet", "agent", "run", "--config", str(clone / "agent.toml")], {"OMP_NUM_THREADS": "1"}
    )
    fleet.until("the alarm", lambda: fleet.device("pi")["alarm"])
    took_s = time.monotonic() - began
    must(took_s < WITHIN_S, f"it took {took_s:.0f} s")
    alarm = fleet.device("pi")["alarm"]
    must("board the-thief " in alarm["why"], f"the copy is not named: {alarm['why']}")
    heads = {alarm["first"]["head"], alarm["second"]["head"]}
    must(len(heads) == 2, f"both are not named: {alarm['why']}")
    must(bool(fleet.events("pi", "cloned")), "no event tells of it")
    deeds = [row for row in fleet.items("/v1/audit") if row["action"] == "device.quarantine"]
    must(len(deeds) == 1, f"the audit has {len(deeds)} deeds of it")
    return f"after {took_s:.0f} s: {alarm['why'].partition('. ')[0]}; in quarantine, with event and audit"


def _key(home: Path) -> bytes:
    return (home / "state/identity/key.pem").read_bytes()


def _start(fleet: EnrolledFleet) -> None:
    """Start the device's agent and wait until the server has heard of this very start."""
    before = _head(fleet)
    fleet.start_agent("pi")
    fleet.until("the server hears of this start", lambda: _head(fleet) not in ("", before))


def _restart(fleet: EnrolledFleet) -> None:
    fleet.parts.stop("pi")
    _start(fleet)


def _head(fleet: EnrolledFleet) -> str:
    document = fleet.device("pi")["document"]
    return str(document["starts"][-1]) if document and document["starts"] else ""
