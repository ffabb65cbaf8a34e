"""One device's line to the broker: a socket that never blocks, behind a line of some rate, delay and loss.

Implements the agent's `seams.Link`. The crowd's loop says when the socket can be read or written.
"""

import errno
import random
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgefleet_agent.link.reconnect import delay_s, failures_after
from edgefleet_agent.seams import Message

from . import packets

TOPICS_PER_SUBSCRIBE = 8
"""As the agent's own link."""
KEEPALIVE_S = 300
"""Five times the agent's own: on loopback no line is lost without a word, and where the machine's cores are taken by others, a crowd that
came late with its pings lost its connections, and to make them anew made it later still."""
CONNECT_WITHIN_S = 60.0
"""Three times the agent's own, for the same reason."""
READ_BYTES = 65536
BURST_S = 0.25
"""A line may carry so much of its rate at once."""
RESEND_S = 0.4
"""How long a lost segment holds up what comes after it: a retransmission's time on a mobile line."""
MAX_QUEUED = 1000


@dataclass(frozen=True)
class Line:
    """What lies between a device and the broker. `rate_bytes_per_s` 0: no limit."""

    rate_bytes_per_s: int = 0
    delay_s: float = 0.0
    loss_percent: float = 0.0


class VirtualLink:
    """The connection of one device; `now` is the machine's monotonic clock."""

    def __init__(
        self, device: str, address: tuple[str, int], line: Line, now: Callable[[], float], dice: random.Random
    ):
        self.device, self._address, self.line, self._now, self._dice = device, address, line, now, dice
        self.socket: socket.socket | None = None
        self.session: int | None = None
        self.next_try = 0.0
        self.refused: str = ""
        self.may_connect = True
        self.connects_done = False
        self._next = 0
        self._will: tuple[str, Callable[[int], bytes]] | None = None
        self._in, self._out = bytearray(), bytearray()
        self._inbox: deque[tuple[float, Message]] = deque()
        self._queue: deque[tuple[int, str, bytes, bool, int]] = deque()
        self._waiting: dict[int, tuple[int, str, bytes, bool]] = {}
        self._acks: set[int] = set()
        self._count = 0
        self._packet = 0
        self._failures = 0
        self._since = 0.0
        self._spoke = 0.0
        self._credit, self._credit_at = 0.0, 0.0
        self._pause_until = 0.0

    # --- the agent's side

    def connected_session(self) -> int | None:
        """The number of this connection; None while there is none."""
        return self.session

    def start(self, first_session: int, will_topic: str, will: Callable[[int], bytes]) -> None:
        """Connect soon: as after a power cut, devices do not all come in one moment."""
        self._next, self._will = first_session, (will_topic, will)
        self.next_try = self._now() + delay_s(0, self._dice.random())

    def subscribe(self, topics: Sequence[str], qos: int = 0) -> None:
        """Ask for topics, a few to a packet. Without a connection nothing is asked."""
        if self.session is not None:
            for at in range(0, len(topics), TOPICS_PER_SUBSCRIBE):
                self._send(packets.subscribe(self._number(), topics[at : at + TOPICS_PER_SUBSCRIBE], qos))

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """No longer ask for topics."""
        if self.session is not None:
            for at in range(0, len(topics), TOPICS_PER_SUBSCRIBE):
                self._send(packets.unsubscribe(self._number(), topics[at : at + TOPICS_PER_SUBSCRIBE]))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> int:
        """Send, or keep for the next connection."""
        self._count += 1
        if self.session is not None:
            self._publish(self._count, topic, payload, retain, qos)
        elif len(self._queue) < MAX_QUEUED:
            self._queue.append((self._count, topic, payload, retain, qos))
        return self._count

    def acknowledged(self) -> set[int]:
        """Numbers of messages that the broker has taken since the last call."""
        acks, self._acks = self._acks, set()
        return acks

    def receive(self) -> list[Message]:
        """What has come over the line by now."""
        now, out = self._now(), []
        while self._inbox and self._inbox[0][0] <= now:
            out.append(self._inbox.popleft()[1])
        return out

    def wait(self, timeout_s: float) -> None:
        """The crowd waits for all."""

    def stop(self) -> None:
        """Say goodbye: no last will is sent."""
        self._will = None
        if self.socket is not None:
            self._send(packets.DISCONNECT)
            self.write()
            self._drop()

    # --- the crowd's side

    @property
    def unsent(self) -> int:
        """How many messages the broker has not acknowledged."""
        return len(self._waiting) + len(self._queue)

    def due(self) -> float:
        """When `step` should be called next, though nothing comes."""
        if self.socket is None:
            return self.next_try if self._will is not None and self.may_connect else float("inf")
        times = [self._spoke + KEEPALIVE_S * 0.9 if self.session is not None else self._since + CONNECT_WITHIN_S]
        if self._inbox:
            times.append(self._inbox[0][0])
        if self._pause_until:
            times.append(self._pause_until)
        return min(times)

    def wants(self) -> tuple[bool, bool]:
        """Whether the socket is to be watched for reading, and for writing."""
        return not self._pause_until, bool(self._out) or (self.session is None and not self.connects_done)

    def step(self) -> None:
        """Do what time alone brings: connect, ping, read on after a pause."""
        now = self._now()
        if self._pause_until and now >= self._pause_until:
            self._pause_until = 0.0
        if self.socket is None:
            if self._will is not None and self.may_connect and now >= self.next_try:
                self._connect(now)
        elif self.session is None:
            if now >= self._since + CONNECT_WITHIN_S:
                self.lost("the broker did not answer")
        elif now >= self._spoke + KEEPALIVE_S * 0.9:
            self._send(packets.PING)

    def write(self) -> None:
        """The socket takes bytes, or its connection came about."""
        if self.socket is None:
            return
        if not self.connects_done:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.lost(errno.errorcode.get(code, str(code)))
                return
            self.connects_done = True
        try:
            while self._out:
                sent = self.socket.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(str(error.strerror))

    def read(self) -> None:
        """The socket has bytes. A slow line takes no more than it can carry: the rest waits in the kernel and the broker."""
        if self.socket is None:
            return
        now, most = self._now(), READ_BYTES
        if rate := self.line.rate_bytes_per_s:
            self._credit = min(rate * BURST_S, self._credit + (now - self._credit_at) * rate)
            self._credit_at = now
            if self._credit < 1:
                self._pause_until = now + BURST_S / 2
                return
            most = min(most, max(1, int(self._credit)))
        try:
            data = self.socket.recv(most)
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(str(error.strerror))
            return
        if not data:
            self.lost("the broker closed the connection")
            return
        self._credit -= len(data)
        if self.line.loss_percent and self._dice.random() * 100 < self.line.loss_percent * (1 + len(data) // 1460):
            self._pause_until = now + RESEND_S
        self._in += data
        try:
            for packet in packets.cut(self._in):
                self._take(packet, now)
        except packets.BadPacket as error:
            self.lost(str(error))

    def lost(self, why: str) -> None:
        """The connection ended."""
        now = self._now()
        self._failures = failures_after(self._failures, now - self._since if self.session is not None else None)
        self.refused = why
        self._drop()
        self.next_try = now + delay_s(self._failures, self._dice.random())

    def tear(self) -> None:
        """Lose the connection without a word, as when power or signal goes."""
        if self.socket is not None:
            self.lost("torn")

    # --- inside

    def _connect(self, now: float) -> None:
        assert self._will is not None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since, self._spoke, self.connects_done = now, now, False
        topic, will = self._will
        self._out = bytearray(packets.connect(self.device, KEEPALIVE_S, topic, will(self._next)))
        code = self.socket.connect_ex(self._address)
        if code not in (0, errno.EINPROGRESS):
            self.lost(errno.errorcode.get(code, str(code)))

    def _drop(self) -> None:
        if self.socket is not None:
            self.socket.close()
        if self.session is not None:
            kept = [(number, topic, payload, retain, 1) for number, topic, payload, retain in self._waiting.values()]
            self._queue = deque([*kept, *self._queue])
            self._waiting.clear()
        self.socket, self.session = None, None
        self._in.clear()
        self._out.clear()
        self._inbox.clear()
        self._pause_until = 0.0

    def _take(self, packet: packets.Packet, now: float) -> None:
        if packet.kind == packets.PUBLISH:
            came = packets.publication(packet)
            if came.number:
                self._send(packets.puback(came.number))
            self._inbox.append((now + self.line.delay_s, Message(came.topic, came.payload)))
        elif packet.kind == packets.PUBACK:
            row = self._waiting.pop(int.from_bytes(packet.body[:2], "big"), None)
            if row is not None:
                self._acks.add(row[0])
        elif packet.kind == packets.CONNACK:
            if packet.body[1]:
                self.lost(f"the broker refused with {packet.body[1]}")
                return
            self.session, self._next, self._since = self._next, self._next + 1, now
            queued, self._queue = self._queue, deque()
            for number, topic, payload, retain, qos in queued:
                self._publish(number, topic, payload, retain, qos)

    def _publish(self, number: int, topic: str, payload: bytes, retain: bool, qos: int) -> None:
        if not qos:
            self._send(packets.publish(topic, payload, 0, retain=retain))
            self._acks.add(number)
            return
        packet = self._number()
        self._waiting[packet] = (number, topic, payload, retain)
        self._send(packets.publish(topic, payload, packet, retain=retain))

    def _number(self) -> int:
        self._packet = self._packet % 65535 + 1
        while self._packet in self._waiting:
            self._packet = self._packet % 65535 + 1
        return self._packet

    def _send(self, data: bytes) -> None:
        self._out += data
        self._spoke = self._now()
