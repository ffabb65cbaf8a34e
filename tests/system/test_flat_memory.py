"""S40: a week's messages in seconds. What an agent keeps of them must be nothing."""

import tempfile
from pathlib import Path

from benchmarks._served import own_bytes
from benchmarks.switch import MODEL, Clients, Device, switch
from edgefleet_agent.status import live_standing
from edgefleet_protocol.rollout import Policy
from tests.fakes.flood import flood, steady_growth

MESSAGES = 20_000
ALLOWED_SHARE = 0.02
"""Of its own memory, that it may grow by in the second half: pages that the allocator gives back late. 200 bytes of each message are more."""


def test_s40_after_twenty_thousand_messages_of_all_kinds_under_load_the_agent_grows_no_more() -> None:
    with tempfile.TemporaryDirectory(prefix="flat-") as folder, Device(Path(folder)) as device:
        device.wish("fashion/1", Policy(telemetry_interval_s=1.0))
        switch(device, "fashion/1")
        with Clients(Path(folder) / f"run/{MODEL}.sock", 2) as clients:
            # Of its own pages: those of files come and go with what else runs here.
            readings = flood(device, MESSAGES, own_bytes)
        second_half = readings[len(readings) // 2 :]
        grown = steady_growth(second_half)
        assert grown < ALLOWED_SHARE * second_half[0], f"{grown / 1e6:.2f} MB more, of {second_half[0] / 1e6:.1f} MB"
        standing = live_standing(Path(folder) / "run")
        assert standing is not None and standing.dropped < MESSAGES / 10, "it took them"
        assert device.agent is not None and device.agent.poll() is None and clients.counts.failures == []
        switch(device, "fashion/2")  # and it obeys as before


def test_a_heap_of_waiting_messages_is_no_growth_and_what_is_kept_of_each_message_is() -> None:
    flat = [24_000_000] * 200
    jump = [24_000_000 + 1_000_000 * (n >= 90) for n in range(200)]
    leak = [24_000_000 + 100 * 50 * n for n in range(200)]
    assert steady_growth(flat) == steady_growth(jump) == 0
    assert (
        steady_growth(leak) > ALLOWED_SHARE * leak[0]
        and steady_growth([a + b for a, b in zip(leak, jump, strict=True)]) > 0
    )
