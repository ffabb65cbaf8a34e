"""Messages of every kind that a device takes, many of them, and what they do to its memory."""

import statistics
import time
from collections.abc import Callable
from itertools import cycle, islice, pairwise

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.switch import DEVICE, Device
from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import Command
from edgefleet_protocol.trust import COMMAND_TYPE

AT_ONCE = 50
"""Then a pause, so that the agent takes them one by one and not most of them not at all."""


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


def flood(device: Device, messages: int, read: Callable[[int], int]) -> list[int]:
    """Send so many messages to a device; return what `read` says of its process, between each fifty."""
    assert device.agent is not None
    sender = paho.Client(CallbackAPIVersion.VERSION2, client_id="sender")
    sender.connect("127.0.0.1", device.broker.port)
    sender.loop_start()
    readings = []
    for number, (topic, payload) in enumerate(islice(cycle(kinds(device)), messages)):
        sender.publish(topic, payload)
        if number % AT_ONCE == 0:
            time.sleep(0.012)
            readings.append(read(device.agent.pid))
    for name, data in device.repo.repository.metadata().items():
        # As a server does that sees its topics overwritten.
        sender.publish(device.topics.trust(name), data, qos=1).wait_for_publish(30)
    sender.disconnect()
    sender.loop_stop()
    return readings


def slope(values: list[int]) -> float:
    """Return the median of all slopes between two values (Theil and Sen): one jump does not move it."""
    pairs = [(n, m) for n in range(len(values)) for m in range(n)]
    return statistics.median((values[n] - values[m]) / (n - m) for n, m in pairs)


def steady_growth(values: list[int], parts: int = 5) -> float:
    """Return by how much the values grow over all of them, judged by the part that grows as the middle one does.

    What leaks, leaks in every part. A process that stood still for a second, as one does on a busy machine, has a heap of waiting
    messages once: that moves one part, or two, while `slope` takes a jump in the middle for a growth.
    """
    last = len(values) - 1
    borders = [values[n * last // parts] for n in range(parts + 1)]
    return parts * statistics.median(after - before for before, after in pairwise(borders))
