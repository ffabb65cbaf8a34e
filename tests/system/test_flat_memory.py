"""S40: a week's messages in seconds. What an agent keeps of them must be nothing."""

import statistics
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.switch import DEVICE, MODEL, Clients, Device, switch
from edgefleet_agent.status import live_standing
from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import Command
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.trust import COMMAND_TYPE

MESSAGES = 20_000
AT_ONCE = 50
"""Then a pause, so that the agent takes them one by one and not most of them not at all."""
ALLOWED_SHARE = 0.01
"""Of its memory, that it may grow by in the second half: pages that the allocator gives back late."""


def kinds(device: Device) -> list[tuple[str, bytes]]:
    """Return a message of each kind that a device takes: true ones again, false ones, and rubbish."""
    topics, repository = device.topics, device.repo.repository
    metadata = repository.metadata()
    command = encode(Command(device=DEVICE, number=1, expires_s=time.time() + 60.0, action="trial"))
    signed = device.repo.online.sign_envelope(COMMAND_TYPE, command)
    known = [(topics.trust(name), data) for name, data in metadata.items()]
    documents = [(topics.target(digest), data) for digest, data in repository.targets().items()]
    mine = [topics.of_device(DEVICE, kind) for kind in ("assignment", "command")]
    rubbish = [(topic, b"\x00rubbish" * 40) for topic in (*mine, topics.trust("head"), topics.trust("timestamp.json"))]
    spoiled = [(topic, data[:-3] + b"abc") for topic, data in (*known, *documents)]
    others = [*known, *documents, *spoiled]
    # Every second one goes to a topic that a device always reads; of the others it reads those that it waits for.
    return [row for pair in zip(cycle([(mine[1], signed), *rubbish]), others, strict=False) for row in pair]


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def slope(values: list[int]) -> float:
    """Return the median of all slopes between two values (Theil and Sen): one jump does not move it."""
    pairs = [(n, m) for n in range(len(values)) for m in range(n)]
    return statistics.median((values[n] - values[m]) / (n - m) for n, m in pairs)


def test_s40_after_twenty_thousand_messages_of_all_kinds_under_load_the_agent_grows_no_more() -> None:
    with tempfile.TemporaryDirectory(prefix="flat-") as folder, Device(Path(folder)) as device:
        device.wish("fashion/1", Policy(telemetry_interval_s=1.0))
        switch(device, "fashion/1")
        assert device.agent is not None
        sender = paho.Client(CallbackAPIVersion.VERSION2, client_id="sender")
        sender.connect("127.0.0.1", device.broker.port)
        sender.loop_start()
        readings = []
        with Clients(Path(folder) / f"run/{MODEL}.sock", 2) as clients:
            for number, (topic, payload) in enumerate(islice(cycle(kinds(device)), MESSAGES)):
                sender.publish(topic, payload)
                if number % AT_ONCE == 0:
                    time.sleep(0.012)
                    readings.append(resident(device.agent.pid))
        for name, data in device.repo.repository.metadata().items():
            # As a server does that sees its topics overwritten.
            sender.publish(device.topics.trust(name), data, qos=1).wait_for_publish(30)
        sender.disconnect()
        sender.loop_stop()
        second_half = readings[len(readings) // 2 :]
        grown = slope(second_half) * len(second_half)
        assert grown < ALLOWED_SHARE * second_half[0], f"{grown / 1e6:.2f} MB more, of {second_half[0] / 1e6:.1f} MB"
        standing = live_standing(Path(folder) / "run")
        assert standing is not None and standing.dropped < MESSAGES / 10, "it took them"
        assert device.agent.poll() is None and clients.counts.failures == []
        switch(device, "fashion/2")  # and it obeys as before
