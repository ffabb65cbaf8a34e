"""S40: a week's messages in seconds. What an agent keeps of them must be nothing."""

import tempfile
from pathlib import Path

from benchmarks.switch import MODEL, Clients, Device, switch
from edgefleet_agent.status import live_standing
from edgefleet_protocol.rollout import Policy
from tests.fakes.flood import flood, slope

MESSAGES = 20_000
ALLOWED_SHARE = 0.01
"""Of its memory, that it may grow by in the second half: pages that the allocator gives back late."""


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def test_s40_after_twenty_thousand_messages_of_all_kinds_under_load_the_agent_grows_no_more() -> None:
    with tempfile.TemporaryDirectory(prefix="flat-") as folder, Device(Path(folder)) as device:
        device.wish("fashion/1", Policy(telemetry_interval_s=1.0))
        switch(device, "fashion/1")
        with Clients(Path(folder) / f"run/{MODEL}.sock", 2) as clients:
            readings = flood(device, MESSAGES, resident)
        second_half = readings[len(readings) // 2 :]
        grown = slope(second_half) * len(second_half)
        assert grown < ALLOWED_SHARE * second_half[0], f"{grown / 1e6:.2f} MB more, of {second_half[0] / 1e6:.1f} MB"
        standing = live_standing(Path(folder) / "run")
        assert standing is not None and standing.dropped < MESSAGES / 10, "it took them"
        assert device.agent is not None and device.agent.poll() is None and clients.counts.failures == []
        switch(device, "fashion/2")  # and it obeys as before
