"""A message of 200 MB: to the fleet's broker, whose limit holds; and from a hostile broker, whose victim dies alone and recovers."""

import contextlib
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from edgefleet_protocol.codec import decode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.messages import Presence
from edgefleet_protocol.topics import Topics
from tests.attacks.report import must
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.hostile_broker import HostileBroker
from tests.fakes.intruder import Intruder
from tests.fakes.memory_cage import MemoryCage
from tests.fakes.repository import make_repository
from tests.fakes.tls_broker import TlsBroker, wait_until

EXPECTED = (
    "the broker ends the sender alone; under a hostile broker the agent dies alone by its memory limit, and recovers"
)
FLOOD_BYTES = 200_000_000
LIMIT_BYTES = 120_000_000
"""More than an agent with its looker needs, less than the flood."""
AGENT = "import sys; from edgefleet_agent.commands import main; sys.exit(main(sys.argv[1:]))"


def run(folder: Path) -> str:
    """Both directions."""
    took = at_the_broker(folder / "fleet")
    return f"the broker took {took / 1e3:.0f} kB of 200 MB; {_at_the_agent(folder)}"


def at_the_broker(folder: Path) -> int:
    """Send the flood to the product's broker as a device; return how many bytes went out before it ended the connection."""
    with TlsBroker(folder) as broker:
        pair = broker.certificate("dev-a")
        topic = broker.topics.of_device("dev-a", "state").encode()
        with broker.client(broker.certificate("dev-b")) as bystander:
            before = _memory_bytes(broker.pid)
            context = ssl.create_default_context(cafile=str(broker.ca))
            context.load_cert_chain(pair.certificate, pair.key)
            raw = socket.create_connection(("127.0.0.1", broker.port), timeout=20)
            with context.wrap_socket(raw, server_hostname="localhost") as flood:
                flood.sendall(b"\x10\x11\0\x04MQTT\x04\x02\0\x3c\0\x05dev-a")
                must(flood.recv(4) == b"\x20\x02\0\0", "the sender was not let in")
                size = 2 + len(topic) + FLOOD_BYTES
                length = bytes((size >> 7 * at) & 127 | (128 if at < 3 else 0) for at in range(4))
                sent = 0
                with contextlib.suppress(OSError):
                    flood.sendall(b"\x30" + length + len(topic).to_bytes(2, "big") + topic)
                    while sent < FLOOD_BYTES:
                        flood.sendall(b"\0" * 16384)
                        sent += 16384
            must(sent < FLOOD_BYTES, "the broker took all of it")
            said = bystander.publish(broker.topics.of_device("dev-b", "state"))
            must(bystander.connected and "uthor" not in said, f"another device suffered: {said}")
            grown = _memory_bytes(broker.pid) - before
            must(grown < 20_000_000, f"the broker's memory grew by {grown / 1e6:.0f} MB")
    return sent


def _at_the_agent(folder: Path) -> str:
    repository = make_repository(folder)
    topics = Topics(repository.repository.fleet)
    honest = BrokerProcess(folder / "honest")
    config = folder / "agent.toml"
    (folder / "root.json").write_bytes(repository.root)
    config.write_text(
        f'fleet = "{topics.fleet}"\ndevice = "dev-a"\nroot = "root.json"\nstate = "state"\nrun = "run"\n'
        f"[broker]\nport = {honest.port}\n[limits]\nreserve_bytes = 1000000\n"
    )
    with MemoryCage(LIMIT_BYTES) as cage:
        bites = cage.prove()
        neighbour = subprocess.Popen(cage.inside(["sleep", "600"]))
        agent = _Agent(cage, config, folder / "agent.log")
        try:
            with HostileBroker(topics.of_device("dev-a", "command"), FLOOD_BYTES, honest.port) as hostile:
                agent.start()
                wait_until("the agent comes to the hostile broker", lambda: hostile.sent_bytes > 1_000_000, 60)
                wait_until("the flood is over", lambda: agent.ended or hostile.sent_bytes == FLOOD_BYTES, 60)
                wait_until("its end", lambda: agent.ended or cage.kind == "RLIMIT_AS", 60)
                end = agent.ended
                if end is not None:  # as systemd does it: into the same flood, and again
                    must(end == -9, f"the agent ended with {end} and not by the limit: {agent.words()}")
                    agent.start()
                    wait_until("it comes again", lambda: hostile.connections > 1, 60)
                    wait_until("it dies again", lambda: agent.ended, 60)
            must(neighbour.poll() is None, "a process beside the agent died with it")
            with honest, Intruder(honest.port) as reader:
                if agent.ended is not None:
                    agent.start()
                topic = topics.of_device("dev-a", "presence")
                wait_until("the agent is there again", lambda: _online(reader.retained(topics.prefix).get(topic)), 90)
            how = "lived through it" if end is None else "was killed by it twice, alone"
            return f"under {bites}, the agent {how} and reported again at an honest broker"
        finally:
            agent.stop()
            neighbour.kill()
            neighbour.wait()


class _Agent:
    """The real agent, started again by whoever watches it."""

    def __init__(self, cage: MemoryCage, config: Path, log: Path) -> None:
        self._command = cage.inside([sys.executable, "-c", AGENT, "run", "--config", str(config)])
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ended(self) -> int | None:
        """Its exit code, once it has one."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def words(self) -> str:
        return self._log.read_text(errors="replace")[-300:]


def _online(payload: bytes | None) -> bool:
    try:
        return payload is not None and decode(payload, Presence).online
    except ProtocolError:
        return False


def _memory_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
