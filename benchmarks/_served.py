"""What the agent costs while it serves a model in good order: one real agent, its worker, Mosquitto and a client that asks."""

import statistics
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgefleet_client import ClientError, Model
from edgefleet_protocol.codec import decode
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import BATCH_WINDOWS, TelemetryBatch
from tests.fakes.flood import flood, slope
from tests.fakes.tiny_model import samples

from .switch import DEVICE, MODEL, Device

WINDOW_S = 60.0
ASK_EVERY_S = 0.1
DAY_S = 86400.0
PIECE_BYTES = 126
"""Of a piece on the wire that holds one MQTT packet: a record of TLS 1.3 (22), IPv4 and TCP with a timestamp (52), and its TCP acknowledgement (52)."""
PUBACK_BYTES = 4


def telemetry_bytes(topic: str, payload: int) -> int:
    """Return what one telemetry message costs on the wire both ways: PUBLISH and PUBACK of MQTT 3.1.1 at QoS 1, with all below it."""
    body = 2 + len(topic) + 2 + payload
    length_bytes = 1 + (body > 127) + (body > 16383)
    return 1 + length_bytes + body + PUBACK_BYTES + 2 * PIECE_BYTES


def measure(batches: int, messages: int, starts: int) -> dict[str, float]:
    """Return the figures. `batches`: of five windows of a minute, in real time, over which the days are reckoned."""
    with tempfile.TemporaryDirectory(prefix="served-") as name, tempfile.TemporaryDirectory(dir="/dev/shm") as run:
        folder = Path(name)
        (folder / "run").symlink_to(run)  # as on a device, where /run is in memory
        with Device(folder) as device:
            device.wish("fashion/1", Policy(telemetry_interval_s=WINDOW_S))
            device.until(lambda: device.runs("fashion/1"), "fashion/1 is proven")
            figures = in_good_order(device, folder, batches)
            figures["start_to_serving_s"] = start_to_serving(device, folder, starts)
            figures["agent_pss_slope_mb"] = grown_mb(device, messages)
        return figures


def in_good_order(device: Device, folder: Path, batches: int) -> dict[str, float]:
    """Return what leaves and what is written in a day, and the processor's share, with ten requests a second."""
    assert device.hub is not None and device.agent is not None
    topic = device.topics.of_device(DEVICE, "telemetry")
    device.hub.subscribe([topic])
    with asking(folder / f"run/{MODEL}.sock"):
        for _ in range(2):  # the first has windows from before the model was proven
            wait_for_batch(device, topic)
        wrote, ticks, began = written_bytes(device.agent.pid), cpu_s(device.agent.pid), time.monotonic()
        payloads = [wait_for_batch(device, topic) for _ in range(batches)]
        seconds = time.monotonic() - began
        wrote, ticks = written_bytes(device.agent.pid) - wrote, cpu_s(device.agent.pid) - ticks
    windows = sum(len(decode(zlib.decompress(row), TelemetryBatch).windows) for row in payloads)
    per_day = DAY_S / (windows * WINDOW_S)
    return {
        "telemetry_mb_per_day": sum(telemetry_bytes(topic, len(row)) for row in payloads) * per_day / 1e6,
        "telemetry_window_bytes": sum(map(len, payloads)) / windows,
        "disk_mb_per_day": wrote * DAY_S / seconds / 1e6,
        "agent_serving_cpu_percent": 100 * ticks / seconds,
        "span_s": seconds,
        "windows": windows,
        "outbox_windows": float((folder / "state/outbox/outbox.db").exists()),
    }


def wait_for_batch(device: Device, topic: str) -> bytes:
    """Return the next telemetry message."""
    assert device.hub is not None
    end = time.monotonic() + 3 * BATCH_WINDOWS * WINDOW_S
    while time.monotonic() < end:
        for message in device.hub.receive():
            if message.topic == topic:
                return message.payload
        time.sleep(0.5)
    raise TimeoutError(f"no telemetry came:\n{(device.folder / 'agent.log').read_text()[-2000:]}")


@contextmanager
def asking(path: Path) -> Iterator[None]:
    """Ask ten times a second, over one connection."""
    ending, row = threading.Event(), samples(4711, 1)

    def ask() -> None:
        with Model(MODEL, socket=path) as model:
            while not ending.wait(ASK_EVERY_S):
                model.predict(row)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def start_to_serving(device: Device, folder: Path, starts: int) -> float:
    """Return the median time from the start of the agent's process to its first answer, with no broker to be reached."""
    device.broker.stop()
    took = []
    for _ in range(starts):
        device.stop_agent()
        began = time.monotonic()
        device.start_agent()
        device.until(lambda: answers(folder / f"run/{MODEL}.sock"), "a request is answered")
        took.append(time.monotonic() - began)
    device.broker.start()
    return statistics.median(took)


def answers(path: Path) -> bool:
    """Return whether a model answers a request now."""
    try:
        with Model(MODEL, socket=path) as model:
            model.predict(samples(4711, 1))
        return True
    except (ClientError, OSError):
        return False


def grown_mb(device: Device, messages: int) -> float:
    """Return by how much the agent's own memory grows over so many messages of all kinds, after as many to warm up.

    Of PSS, the pages that are no file's: those that it shares with files change with what else runs on the machine.
    """
    device.until(lambda: device.hub is not None and device.hub.connected_session() is not None, "the broker is back")
    flood(device, messages, own_bytes)
    readings = flood(device, messages, own_bytes)
    every = max(1, len(readings) // 400)
    return slope(readings[::every]) / every * len(readings) / 1e6


def own_bytes(pid: int) -> int:
    """Return the anonymous part of a process' proportional set size."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


def tree(pid: int) -> list[int]:
    """Return a process and its children: the agent and its workers."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def written_bytes(pid: int) -> int:
    """Return what a process and its children had written to storage so far."""
    rows = [line.split() for one in tree(pid) for line in Path(f"/proc/{one}/io").read_text().splitlines()]
    return sum(int(value) for name, value in rows if name == "write_bytes:")


def cpu_s(pid: int) -> float:
    """Return the seconds of one core that a process used so far, and its children that ended."""
    row = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    hertz = int(subprocess.run(["getconf", "CLK_TCK"], capture_output=True, text=True, check=True).stdout)
    return sum(int(value) for value in row[11:15]) / hertz
