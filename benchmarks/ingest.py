"""How many windows a second are taken in, from MQTT to the committed row, five windows to a message.

A real Mosquitto with the limits that we configure, and the server's own receiving, checking and storing in a process of its own;
no rollouts, API or alerts beside it. The sender writes packets that were made before, so it costs next to nothing.
`*_ratio`: to a plain executemany of the very same rows into the same table, in the same run, with nothing before it.
`*_cpu_us`: processor time of our one process for each window; other load changes it least.
`two_process_ratio`: two processes on one shared subscription, to one.

    make bench NAME=ingest ARGS="--messages 4000"
"""

import argparse
import os
import random
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgefleet_protocol.codec import encode
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, TelemetryBatch, Window
from edgefleet_protocol.topics import Topics
from edgefleet_server.config import KeepConfig
from edgefleet_server.garbage import settle
from edgefleet_server.ingest.counters import Counters
from edgefleet_server.ingest.router import Router
from edgefleet_server.ingest.subscriptions import of_helper
from edgefleet_server.ingest.telemetry import parse
from edgefleet_server.link.broker import Broker
from edgefleet_server.link.embedded import EmbeddedBroker, Settings, free_port
from edgefleet_server.seams import WallClock
from edgefleet_server.store import partitions
from edgefleet_server.store import windows as windows_store
from edgefleet_server.store.database import Database
from edgefleet_server.store.windows import Placed

from ._report import report

FLEET = "bench"
TOPICS = Topics(FLEET)
PER_MESSAGE = 5
DEVICES = 1000
AHEAD = 2000
"""Messages that may wait at the broker: it drops what is beyond its limit for one client."""
KEEP = KeepConfig(windows_per_device_per_hour=10**9)


def make_payloads(messages: int) -> list[tuple[str, bytes]]:
    """Return (device, payload) of each message: windows of the last hours, with a latency of two humps, as a device sends them."""
    chance, now = random.Random(1), time.time()
    models = []
    for _ in range(50):
        latency, confidence = SketchBuilder(), SketchBuilder()
        for _ in range(100):
            latency.add(chance.lognormvariate(-4.0 if chance.random() < 0.8 else -3.0, 0.2))
            confidence.add(chance.betavariate(8, 2))
        models.append(
            ModelWindow(
                model="fashion", release="fashion/3", release_sha256="a" * 64, variant="int8-static", requests=100, errors=1,
                latency=latency.build(), confidence=confidence.build(), memory_bytes=61_000_000,
            )
        )  # fmt: skip
    facts = DeviceWindow(
        cpu_percent=13.4, memory_available_bytes=512_000_000, storage_free_bytes=9_000_000_000, temperature_c=51.2, throttled=(),
        power_w=3.4, battery_percent=81.5, battery_charging=False, agent_memory_bytes=36_000_000,
    )  # fmt: skip
    found = []
    for n in range(messages):
        device, turn = f"device-{n % DEVICES:05}", n // DEVICES
        rows = tuple(
            Window(
                start_s=now - 86400 + (turn * PER_MESSAGE + k) * 60 + n % DEVICES / 100, seconds=60.0,
                boot=f"6f1c2c3e-0d2b-4b6e-9b1f-{n % DEVICES:012}", started_monotonic_s=100.0 + (turn * PER_MESSAGE + k) * 60,
                device=facts, models=(models[(n + k) % 50],),
            )
            for k in range(PER_MESSAGE)
        )  # fmt: skip
        found.append((device, zlib.compress(encode(TelemetryBatch(device=device, windows=rows)))))
    return found


def packet(topic: str, payload: bytes, mid: int) -> bytes:
    """Return an MQTT PUBLISH with QoS 1."""
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name + struct.pack("!H", mid) + payload
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (128 if left else 0)])
        if not left:
            return b"\x32" + length + body


class Taker:
    """A process that takes; `taken` is how many windows it has committed."""

    def __init__(self, port: int, place: str, number: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ingest", "--take", place, "--port", str(port), "--number", str(number)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.taken = -1
        self.seconds = 0.0
        """Of processor time, since it was ready."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            taken, seconds = line.split()
            self.taken, self.seconds = int(taken), float(seconds)

    def check(self) -> None:
        """Raise RuntimeError when it has ended by itself."""
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"a process that takes ended with exit code {code}: see above")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def take(place: str, port: int, number: int) -> None:
    """Be the process: the server's link and router over the database at `place`."""
    is_file = not place.startswith("postgresql:")
    database = Database(Path(place) if is_file else place, helper=None if is_file else "ingest")
    counters = Counters()
    broker = Broker("127.0.0.1", port, f"take-{number}", of_helper(TOPICS))
    router = Router(broker, TOPICS, database, WallClock(), counters, lambda: None, lambda need: None, keep=KEEP)
    broker.start()
    broker.wait_connected(20)
    router.start()
    time.sleep(0.5)
    settle()
    began = time.process_time()
    while True:
        print(counters.get("windows_taken"), time.process_time() - began, flush=True)
        time.sleep(0.02)


def through_mqtt(place: str, payloads: Sequence[tuple[str, bytes]], takers: int) -> tuple[float, float]:
    """Return windows a second from the first packet to the last commit, and processor seconds of the takers."""
    total = len(payloads) * PER_MESSAGE
    packets = [
        packet(TOPICS.of_device(device, "telemetry"), payload, n % 65535 + 1)
        for n, (device, payload) in enumerate(payloads)
    ]
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Settings(free_port(), Path(folder))) as broker:
        if broker.kind != "mosquitto":
            raise SystemExit("this benchmark needs Mosquitto: apt install mosquitto")
        processes = [Taker(broker.port, place, n) for n in range(takers)]
        try:
            while any(one.taken < 0 for one in processes):
                for one in processes:
                    one.check()
                time.sleep(0.05)
            with socket.create_connection(("127.0.0.1", broker.port)) as sock:
                sock.sendall(b"\x10\x12\x00\x04MQTT\x04\x02\x00\x00\x00\x06sender")
                sock.recv(4)
                threading.Thread(target=_swallow, args=(sock,), daemon=True).start()
                began, at = time.monotonic(), 0
                while (taken := sum(one.taken for one in processes)) < total:
                    room = AHEAD - (at - taken // PER_MESSAGE)
                    if room > 200 and at < len(packets):
                        sock.sendall(b"".join(packets[at : at + room]))
                        at = min(len(packets), at + room)
                    else:
                        time.sleep(0.005)
                    if time.monotonic() - began > 150:
                        raise SystemExit(f"only {taken} of {total} windows came")
                seconds = time.monotonic() - began
            return total / seconds, sum(one.seconds for one in processes)
        finally:
            for one in processes:
                one.stop()


def _swallow(sock: socket.socket) -> None:
    try:
        while sock.recv(65536):
            pass
    except OSError:
        pass


def rows_of(payloads: Sequence[tuple[str, bytes]]) -> list[tuple[Any, ...]]:
    """Return the rows of every window."""
    now = time.time()
    placed = [Placed(device, window, window.start_s) for device, data in payloads for window in parse(data).windows]
    return [windows_store.ready(one, now).row for one in placed]


COLUMNS = (
    "device", "boot", "started_monotonic_s", "placed_s", "seconds", "received_s", "facts", "requests", "models",
)  # fmt: skip
CHUNK = 1000


def plainly(connection: Any, mark: str, rows: list[tuple[Any, ...]]) -> float:
    """Return windows a second of executemany alone, a thousand to a transaction."""
    marks = ", ".join([mark] * len(COLUMNS))
    began = time.monotonic()
    for at in range(0, len(rows), CHUNK):
        connection.cursor().executemany(
            f"INSERT INTO windows ({', '.join(COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows[at : at + CHUNK]
        )
        connection.commit()
    return len(rows) / (time.monotonic() - began)


@contextmanager
def postgres() -> Iterator[Any]:
    """A PostgreSQL of our own, with its disk as it is: fsync on."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.fakes.postgres import Postgres

    with Postgres(fsync=True) as cluster:
        yield cluster


def main(argv: list[str]) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=12_000, help="to each store; default: 12000")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    parser.add_argument("--take", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.take:
        take(arguments.take, arguments.port, arguments.number)
    payloads = make_payloads(arguments.messages)
    rows = rows_of(payloads)
    size = sum(len(data) for _, data in payloads) / len(payloads)
    print(
        f"{len(payloads)} messages of {size:.0f} bytes, {PER_MESSAGE} windows each; {os.cpu_count()} cores", flush=True
    )
    figures: dict[str, float] = {}
    if arguments.only != "postgres":
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "server.sqlite3"
            Database(place).close()
            rate, seconds = through_mqtt(str(place), payloads, 1)
            plain_place = Path(folder) / "plain.sqlite3"
            Database(plain_place).close()
            beside = sqlite3.connect(plain_place)
            beside.execute("PRAGMA synchronous=NORMAL")
            plain = plainly(beside, "?", rows)
            beside.close()
        print(
            f"SQLite: {rate:.0f} windows/s, {seconds / len(rows) * 1e6:.0f} µs of processor each; plain {plain:.0f}",
            flush=True,
        )
        figures |= {
            "sqlite_windows_per_s": rate,
            "sqlite_ratio": rate / plain,
            "sqlite_cpu_us": seconds / len(rows) * 1e6,
        }
    if arguments.only != "sqlite":
        with postgres() as cluster:
            found = []
            for takers in (1, 2):
                database = Database(url := cluster.new())
                rate, seconds = through_mqtt(url, payloads, takers)
                database.close()
                found.append(rate)
                each = seconds / len(rows) * 1e6
                figures.setdefault("postgres_cpu_us", each)
                print(f"PostgreSQL, {takers} processes: {rate:.0f} windows/s, {each:.0f} µs of ours each", flush=True)
            database = Database(cluster.new())
            with database.append() as connection:
                partitions.make(connection, {partitions.day_of(row[3]) for row in rows})
            raw = database.engine.raw_connection()
            plain = plainly(raw.driver_connection, "%s", rows)
            raw.close()
            database.close()
        print(f"PostgreSQL, plain: {plain:.0f} windows/s", flush=True)
        figures |= {
            "postgres_windows_per_s": found[0], "postgres_ratio": found[0] / plain, "two_process_ratio": found[1] / found[0],
        }  # fmt: skip
    report("ingest", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
