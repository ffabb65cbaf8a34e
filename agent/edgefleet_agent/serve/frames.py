"""The short way for a client on the same device: tensors in a file in memory, and 16 bytes that say "look".

A client asks for it on the model's Unix socket by HTTP's own Upgrade (`GET /v2/models/NAME/frames`, `Upgrade:
edgefleet-frames/1`); who knows nothing of it answers as it answers anything unknown, and the client stays with REST. After
`101` the connection carries bells, little-endian, each followed by `length` bytes of JSON:

    offset  0 u16   kind      1 attach, 2 run; answers: 0x81, and 0x82 where it is the last on this connection
            2 u16   status    of an answer, as in HTTP
            4 u32   number    chosen by the client, echoed
            8 u32   deadline  microseconds from now within which an answer is of use; 0: any time
           12 u32   length    of the JSON that follows, at most 64 KiB

`attach` brings a sealed memfd (SCM_RIGHTS) and says what will lie where: `{"bytes": 606336, "inputs": [{"name": "image",
"datatype": "FP32", "shape": [1, 3, 224, 224], "offset": 0}], "outputs_at": 602112}`. Its answer says who serves. `run`
has no JSON: the inputs lie there. Its answer has JSON only when the outputs lie elsewhere than the last time, or for an
error. The inputs are read where they lie, without a copy, while the client waits; those of whole numbers wider than a
byte and truth values are copied first, because a model may use them as indices or counts after it has checked them.
"""

import array
import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import msgspec

from .core import Core, check_shape
from .errors import Refused
from .http import Closed
from .region import ALIGNMENT, open_region
from .runtime import Array
from .tensors import DTYPES, from_raw, to_raw
from .words import decode

PROTOCOL: Final = "edgefleet-frames/1"
BELL = struct.Struct("<HHIII")
ATTACH, RUN, ANSWER, LAST = 1, 2, 0x81, 0x82
MAX_JSON = 64 * 1024
MAX_DESCRIPTORS = 2
"""One is right, and two are told so; more would be other clients' room."""
WORDS_S = 5.0
"""From a bell's first byte to the end of its JSON."""

_MSG_CMSG_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)
_READ_IN_PLACE = {"FP16", "FP32", "FP64", "UINT8", "INT8"}

Json = dict[str, Any]


@dataclass(frozen=True)
class _Bell:
    kind: int
    number: int
    deadline_us: int
    length: int


class _Attached:
    """A client's file in memory and what lies where."""

    def __init__(self, core: Core, asked: Json, descriptor: int) -> None:
        """Map it; raise Refused for what does not fit the file or the model."""
        size = _whole(asked.get("bytes"), "bytes")
        self.size = size
        self._view = memoryview(open_region(descriptor, size))
        self.inputs: dict[str, Array] = {}
        rows = asked.get("inputs")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refused(400, "there is no list of inputs")
        for row in rows:
            name = row.get("name")
            spec = core.inputs.get(name) if isinstance(name, str) else None
            if spec is None or spec.name in self.inputs:
                raise Refused(400, f"unexpected input {str(name)[:100]!r}; {core.spec.model} takes {core.names()}")
            if row.get("datatype") != spec.datatype:
                raise Refused(400, f"input {name} is {str(row.get('datatype'))[:20]} and must be {spec.datatype}")
            shape = check_shape(row.get("shape"), spec.name, spec.shape)
            offset = _aligned(row.get("offset"), f"the offset of {name}")
            count = _bytes_of(shape, spec.datatype)
            if offset + count > size:
                raise Refused(400, f"input {name} ends at byte {offset + count} of {size}")
            values = from_raw(self._view[offset : offset + count], spec.datatype, shape, spec.name)
            # The client writes here; nobody in this process does.
            values.flags.writeable = False
            self.inputs[spec.name] = values
        if missing := [name for name in core.inputs if name not in self.inputs]:
            raise Refused(400, f"missing input {', '.join(missing)}; {core.spec.model} takes {core.names()}")
        self._copied = [name for name in self.inputs if core.inputs[name].datatype not in _READ_IN_PLACE]
        self._at = _aligned(asked.get("outputs_at"), "outputs_at")
        self.told: list[Json] | None = None
        self._datatypes = {name: spec.datatype for name, spec in core.outputs.items()}

    def question(self) -> dict[str, Array]:
        """The inputs as they lie there now."""
        if not self._copied:
            return self.inputs
        return {name: values.copy() if name in self._copied else values for name, values in self.inputs.items()}

    def put(self, results: dict[str, Array]) -> list[Json] | None:
        """Write the outputs; return where they lie, or None when that is where they lay the last time."""
        at = self._at
        rows: list[Json] = []
        places: list[tuple[int, memoryview]] = []
        for name, datatype in self._datatypes.items():
            data = to_raw(results[name], datatype)
            rows.append({"name": name, "datatype": datatype, "shape": list(results[name].shape), "offset": at})
            places.append((at, data))
            at += -(-len(data) // ALIGNMENT) * ALIGNMENT
        if places and places[-1][0] + len(places[-1][1]) > self.size:
            raise TooSmall(at)
        for place, data in places:
            self._view[place : place + len(data)] = data
        if rows == self.told:
            return None
        self.told = rows
        return rows


class TooSmall(Refused):
    """The outputs need more room than the client's file has."""

    def __init__(self, needs: int) -> None:
        super().__init__(413, f"with the outputs the file must have {needs} bytes: attach a larger one")
        self.needs = needs


class Frames:
    """One connection that carries bells."""

    def __init__(self, core: Core, sock: socket.socket, hold: Callable[[int], None]) -> None:
        """hold: takes bytes of the memory that clients may fill, or gives them back; raises Refused when it is full."""
        self._core, self._sock, self._hold = core, sock, hold
        self._attached: _Attached | None = None
        self._bell = bytearray(BELL.size)
        self._descriptors: list[int] = []

    def close(self) -> None:
        """Give back what the client's file took."""
        self._drop()
        self._close_descriptors()

    def next(self, idle_s: float) -> _Bell | None:
        """Return the next bell; None when the client closed, or rang nothing for `idle_s`. Raises Closed."""
        self._sock.settimeout(idle_s)
        got = 0
        end = 0.0
        view = memoryview(self._bell)
        try:
            while got < BELL.size:
                count, ancillary, _, _ = self._sock.recvmsg_into([view[got:]], _ROOM, _MSG_CMSG_CLOEXEC)
                self._keep(ancillary)
                if not count:
                    return None
                if not got:
                    end = time.monotonic() + WORDS_S
                got += count
                if got < BELL.size:
                    self._sock.settimeout(max(0.001, end - time.monotonic()))
        except OSError:
            return None
        kind, _, number, deadline_us, length = BELL.unpack(self._bell)
        return _Bell(kind, number, deadline_us, length)

    def answer(self, bell: _Bell, closing: Callable[[], bool]) -> bool:
        """Do what `bell` says and answer; return whether another may follow. Raises Closed."""
        began = time.perf_counter()
        deadline = time.monotonic() + bell.deadline_us / 1e6 if bell.deadline_us else None
        try:
            words = self._words(bell)
            if bell.kind == ATTACH:
                self._attach(words)
                return self._say(bell, 200, msgspec.json.encode(self._core.who), last=closing())
            if bell.kind == RUN and not words:
                return self._run(bell, began, deadline, closing)
        except Refused as error:
            if bell.kind == RUN:
                self._core.refused(began, error)
            said: Json = {"error": str(error)}
            if isinstance(error, TooSmall):
                said["needs"] = error.needs
            return self._say(bell, error.status, msgspec.json.encode(said), last=closing())
        except MemoryError:
            refused = Refused(503, "the request needs more memory than the model may use here")
            if bell.kind == RUN:
                self._core.refused(began, refused)
            return self._say(bell, 503, msgspec.json.encode({"error": str(refused)}), last=closing())
        finally:
            self._close_descriptors()
        said = {"error": f"bell {bell.kind} with {bell.length} bytes is none that is known here"}
        return self._say(bell, 400, msgspec.json.encode(said), last=True)

    def _run(self, bell: _Bell, began: float, deadline: float | None, closing: Callable[[], bool]) -> bool:
        if self._attached is None:
            raise Refused(400, "nothing is attached yet")
        ran = self._core.run(self._attached.question(), deadline)
        rows = self._attached.put(ran.results)
        self._core.answered(began, ran)
        more = self._say(bell, 200, b"" if rows is None else msgspec.json.encode({"outputs": rows}), last=closing())
        self._core.told(ran)
        return more

    def _attach(self, words: bytes) -> None:
        self._drop()
        if len(self._descriptors) != 1:
            raise Refused(400, f"{len(self._descriptors)} files came with it and it takes 1")
        asked = decode(words, "what to attach")
        if not isinstance(asked, dict):
            raise Refused(400, "what to attach is not a JSON object")
        attached = _Attached(self._core, asked, self._descriptors[0])
        self._hold(attached.size)
        self._attached = attached

    def _drop(self) -> None:
        if self._attached is not None:
            self._hold(-self._attached.size)
            self._attached = None

    def _words(self, bell: _Bell) -> bytes:
        """Read the JSON of `bell`."""
        if not bell.length:
            return b""
        if bell.length > MAX_JSON:
            # How much follows cannot be trusted, so nothing more is read.
            self._say(bell, 413, b'{"error":"a bell may bring at most 65536 bytes"}', last=True)
            raise Closed("too many words")
        data = bytearray()
        end = time.monotonic() + WORDS_S
        try:
            while len(data) < bell.length:
                self._sock.settimeout(max(0.001, end - time.monotonic()))
                part, ancillary, _, _ = self._sock.recvmsg(bell.length - len(data), _ROOM, _MSG_CMSG_CLOEXEC)
                self._keep(ancillary)
                if not part:
                    raise Closed("the client closed within a bell")
                data += part
        except OSError as error:
            raise Closed(str(error)) from error
        return bytes(data)

    def _say(self, bell: _Bell, status: int, words: bytes, *, last: bool) -> bool:
        try:
            self._sock.sendall(BELL.pack(LAST if last else ANSWER, status, bell.number, 0, len(words)) + words)
        except OSError as error:
            raise Closed(str(error)) from error
        return not last

    def _keep(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) // numbers.itemsize * numbers.itemsize])
                self._descriptors += numbers
        while len(self._descriptors) > MAX_DESCRIPTORS:
            os.close(self._descriptors.pop())

    def _close_descriptors(self) -> None:
        for number in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(number)
        self._descriptors.clear()


_ROOM = socket.CMSG_LEN(array.array("i").itemsize)
"""For one descriptor: the kernel closes what has no room."""


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**40:
        raise Refused(400, f"{what} is {str(value)[:40]} and must be a whole number of bytes")
    return value


def _aligned(value: object, what: str) -> int:
    number = _whole(value, what)
    if number % ALIGNMENT:
        raise Refused(400, f"{what} is {number} and must be a multiple of {ALIGNMENT}")
    return number


def _bytes_of(shape: tuple[int, ...], datatype: str) -> int:
    return prod(shape) * DTYPES[datatype].itemsize
