"""What agent and worker say to each other, as JSON on a socket pair of their own.

The order to work is one document, handed over in an anonymous file so that nobody waits for anybody. All that follows
is small: one message is one packet.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgefleet_protocol.sketch import Sketch

from ..seams import WorkerSpec
from ..tuning import Tuning

MAX_PACKET_BYTES = 128 * 1024
"""A count with two sketches of a few hundred buckets is a few kilobytes; a full one is below this."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is started for. Numbers of file descriptors are those that it inherited."""

    spec: WorkerSpec
    control: int
    listeners: tuple[int, ...] = ()
    """Shared listening sockets; none in a trial."""
    handoff: int | None = None
    """Where connections come from that the gateway took."""
    back: int | None = None
    """Where they go when the next thing asked is for another model."""
    regions: int | None = None
    """The file that keeps the regions of shared memory; None where that is not turned on."""
    allow_uids: tuple[int, ...] = ()
    allow_gids: tuple[int, ...] = ()
    """Who may connect to the Unix socket; both empty: whoever its permissions let in."""
    trial_wall_s: float | None = None
    """Seconds for the whole trial; None for a worker that serves."""
    agent_pid: int

    @property
    def inherited(self) -> tuple[int, ...]:
        """Every descriptor that the worker keeps."""
        more = (self.handoff, self.back, self.regions)
        return (self.control, *self.listeners, *(number for number in more if number is not None))


class Do(msgspec.Struct, frozen=True, kw_only=True):
    """Agent to worker."""

    what: Literal["accept", "pause", "served", "stop"]
    drain_s: float = 0.0
    ending: bool = False
    """The agent ends too, so that connections on which nothing is asked are not waited for."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded."""

    limits: dict[str, str]
    load_s: float


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The model cannot be served; the worker ends."""

    reason: str
    limits: dict[str, str] = {}
    blame: Literal["variant", "runtime"] = "variant"


class Imported(msgspec.Struct, frozen=True, kw_only=True, tag="imported"):
    """The runtime is there; from now on a death is the model's."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """`accept` or `pause` has taken effect."""

    what: Literal["accept", "pause"]


class Counted(msgspec.Struct, frozen=True, kw_only=True, tag="counted"):
    """Counts since the last such message."""

    requests: int = 0
    errors: int = 0
    latency: Sketch = Sketch()
    confidence: Sketch | None = None
    busy_s: float | None = None
    """How long the oldest inference under way has been running."""
    memory_bytes: int | None = None
    """Its own, from one in a unit: of a process in another namespace of users the kernel tells the agent nothing."""


class Tried(msgspec.Struct, frozen=True, kw_only=True, tag="tried"):
    """The report of a trial that came to its end."""

    ok: bool
    reason: str
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    load_s: float | None = None
    memory_bytes: int | None = None
    limits: dict[str, str] = {}
    tuning: Tuning | None = None
    tuning_why: str = ""


Said = Ready | Imported | Failed | Done | Counted | Tried


def encode(message: Order | Do | Said) -> bytes:
    """Return the bytes of `message`."""
    return msgspec.json.encode(message, enc_hook=_plain)


def decode_order(data: bytes) -> Order:
    """Return the order in `data`; raise msgspec.MsgspecError when it is none."""
    return msgspec.json.decode(data, type=Order, dec_hook=_path)


def renumbered(data: bytes, here: Sequence[int]) -> Order:
    """Return the order in `data` with the numbers that its descriptors have in this process, in the order of `inherited`."""
    order = decode_order(data)
    number = dict(zip(order.inherited, here, strict=True))
    return msgspec.structs.replace(
        order,
        control=number[order.control],
        listeners=tuple(number[each] for each in order.listeners),
        **{
            name: number[value]
            for name in ("handoff", "back", "regions")
            if (value := getattr(order, name)) is not None
        },
    )


def decode_do(data: bytes) -> Do:
    """Return what the agent says; raise msgspec.MsgspecError when it says nothing known."""
    return msgspec.json.decode(data, type=Do)


_SAID: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Said)


def decode_said(data: bytes) -> Said:
    """Return what a worker says; raise MsgspecError, UnicodeDecodeError or RecursionError otherwise."""
    said: Said = _SAID.decode(data)
    return said


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value))


def _path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)
