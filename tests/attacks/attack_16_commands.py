"""Commands that a stolen broker sends: forged, foreign, replayed, late. A real broker, server and agent."""

import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgefleet_protocol.codec import encode
from edgefleet_protocol.dsse import seal
from edgefleet_protocol.messages import Command
from edgefleet_protocol.trust import COMMAND_TYPE
from tests.fakes.enrolled_fleet import EnrolledFleet
from tests.fakes.fleet import Member
from tests.fakes.intruder import Intruder

from .report import must

EXPECTED = "a command of the server is obeyed once; forged, foreign, replayed, late and otherwise-enveloped ones never, each told"


def run(folder: Path) -> str:
    """Attack; return what was seen."""
    tempfile.tempdir = str(folder)
    try:
        with EnrolledFleet([Member("one"), Member("two")]) as fleet, fleet.intruder() as thief:
            return _attack(fleet, thief)
    finally:
        tempfile.tempdir = None


def _attack(fleet: EnrolledFleet, thief: Intruder) -> str:
    topic = fleet.topics.of_device("one", "command")
    seen = thief.listen(topic)
    done = _order(fleet, "one")
    must(
        done["status"] == "done" and done["text"] == "pong",
        f"an honest command came back as {done['status']}: {done['text']}",
    )
    captured = seen.get(timeout=60)
    online, stranger = fleet.trust.online, Ed25519PrivateKey.generate()
    key = online.public("commands")

    def signed(device: str, number: int, expires_s: float, kind: str = COMMAND_TYPE, epoch: str = "") -> bytes:
        known = fleet.device(device)["document"]
        row = Command(
            device=device,
            number=number,
            epoch=epoch or known["command_epoch"],
            session=known["session"],
            expires_s=expires_s,
            action="ping",
        )
        return online.sign_envelope(kind, encode(row))

    soon = time.time() + 200
    row = Command(
        device="one", number=90, expires_s=soon, action="ping", epoch=fleet.device("one")["document"]["command_epoch"]
    )
    attacks = {
        "forged": seal(COMMAND_TYPE, encode(row), key.keyid, stranger.sign),
        "foreign": signed("two", 91, soon),
        "replayed": captured,
        "late": signed("one", 92, time.time() - 1),
    }
    more = {
        "of an epoch that is over": signed("one", 93, soon, epoch="an old one"),
        "in an envelope for something else": signed(
            "one", 94, soon, kind="application/vnd.edgefleet.device-assignment+json"
        ),
        "no envelope": encode(row),
        "rubbish": b"\xff" * 5000,
    }
    for kind, payload in attacks.items():
        thief.send(topic, payload)
        fleet.until(f"{kind} is told", fleet.told, "one", "command-refused", f"{kind}:")
    for payload in more.values():
        thief.send(topic, payload)
    after = _order(fleet, "one")
    must(
        after["status"] == "done",
        f"after the attacks an honest command came back as {after['status']}: {after['text']}",
    )
    number = fleet.device("one")["document"]["command_number"]
    must(number == 2, f"the device obeyed up to number {number}, and the server gave 2")
    rows = fleet.items("/v1/devices/one/commands")
    must([row["number"] for row in rows] == [2, 1], f"the server keeps {rows}")
    return f"{len(attacks) + len(more)} refused, each of the four told by an event; honest commands before and after obeyed"


def _order(fleet: EnrolledFleet, device: str) -> dict[str, Any]:
    fleet.until("the server knows its epoch", lambda: fleet.device(device)["document"]["command_epoch"])
    path = f"{fleet.url}/v1/devices/{device}/commands"
    row: dict[str, Any] = httpx.post(path, json={"action": "ping"}, trust_env=False).raise_for_status().json()

    def answered() -> bool:
        row.update(fleet.get(f"/v1/devices/{device}/commands/{row['id']}"))
        return bool(row["status"] != "waiting")

    fleet.until("the command is answered", answered)
    return row
