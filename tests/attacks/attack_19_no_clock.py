"""A device whose clock says 1971: it connects, updates, and takes no expired replay, even with its cache lost."""

import json
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.fakes.enrolled_fleet import EnrolledFleet
from tests.fakes.fleet import WEST, Member
from tests.fakes.whole_clock import shifted

from .report import must

EXPECTED = "it enrols, connects and updates; an expired state replayed to it, with its cache lost, is refused by the time floor"
PYTHON_ONLY = str(Path(__file__).parents[1] / "fakes" / "clock_at_1970")
YEAR_1971 = 365 * 86400.0


def run(folder: Path) -> str:
    """Return what was seen."""
    whole = shifted(folder, YEAR_1971 - time.time())
    environment = whole or {"PYTHONPATH": PYTHON_ONLY}
    made = (
        datetime.now(timezone.utc) - timedelta(days=7) + timedelta(seconds=30)
    )  # nobody publishes what is over already
    with EnrolledFleet([Member("lost")], {"lost": environment}, made=made) as fleet:
        fleet.roll_out(fleet.release(), [WEST])
        time.sleep(max(0.0, (made + timedelta(days=7, seconds=2) - datetime.now(timezone.utc)).total_seconds()))
        second = fleet.release()
        fleet.roll_out(second, [WEST])  # signed after the first state's end, so the floor is behind it
        at = datetime.fromtimestamp(fleet.status("lost")["at_s"], timezone.utc)
        must(at.year <= 1971, f"the device's clock says {at:%Y}: the attack is not one")
        fleet.parts.kill("lost")
        lose_cache(fleet.agent_toml("lost").parent / "state/trust.json")
        fleet.parts.stop("server")  # what a stolen broker replays, no server puts right
        with fleet.intruder() as intruder:
            for name, payload in fleet.first_metadata.items():
                intruder.put(fleet.topics.trust(name), payload)
        fleet.start_agent("lost")
        end, problem = time.monotonic() + 60, None
        while time.monotonic() < end and "expired" not in (problem or ""):
            problem = fleet.status("lost")["trust_problem"]
            time.sleep(0.2)
        must("expired" in (problem or ""), f"an expired state was not refused as such: {problem}")
        with fleet.load("lost") as load:
            must(load.ask() == second, "it does not serve what it served")
    clock = f"at {at:%Y-%m-%d}" if whole else f"at {at:%Y-%m-%d} (Python's clock only: there is no cc here)"
    return f"{clock} it enrolled, connected and updated to {second}; the replay: {problem}"


def lose_cache(path: Path) -> None:
    """Leave of what the device remembers only the floor: the rest would refuse the replay by its number already."""
    kept = json.loads(path.read_text())
    must(bool(kept.get("floor")), "the device has no floor after two updates")
    names = ("floor", "floor_keyids", "command_keys", "rollout", "manifests", "region")
    path.write_text(json.dumps({name: kept[name] for name in names if name in kept}))
