"""The short way to a model on the same device: frames in a file in memory, and 16 bytes that say "look".

The other side, and what each byte means: `edgefleet_agent/serve/frames.py`. It is asked for by HTTP's own Upgrade, so an
agent that does not know it says so, and the client goes on with REST; likewise where the system gives no such file.
"""

import array
import fcntl
import json
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from .connection import Broken, Connection, Lost, receive, send
from .errors import ClientError
from .prediction import Array
from .protocol import DTYPES, Json, error_for

PROTOCOL = "edgefleet-frames/1"
BELL = struct.Struct("<HHIII")
ATTACH, RUN, ANSWER, LAST = 1, 2, 0x81, 0x82
ALIGNMENT = 64
UNKNOWN_OUTPUT_BYTES = 64 * 1024
"""Room for an output whose size is told only by the model; what needs more says how much."""
MAX_WORDS = 64 * 1024

# Not named by every Python from 3.10 on; linux/include/uapi/linux/fcntl.h and memfd.h.
_F_ADD_SEALS, _F_SEAL_SHRINK, _F_SEAL_GROW = 1033, 2, 4
_MFD_CLOEXEC, _MFD_ALLOW_SEALING = 1, 2


class Unavailable(Exception):
    """There is no short way here: use REST."""


class _TooSmall(Exception):
    def __init__(self, needs: int) -> None:
        super().__init__(needs)
        self.needs = needs


class Frames:
    """A connection that carries bells. Not for two threads."""

    def __init__(self, connection: Connection, model: str) -> None:
        """connection: says where; another socket is opened there."""
        self._connection, self._model = connection, model
        self._sock: socket.socket | None = None
        self._region: _Region | None = None
        self._who: Json = {}
        self._number = 0
        self._needs = 0

    @property
    def unattached(self) -> bool:
        """Whether the worker has no file of this client."""
        return self._region is None

    def close(self) -> None:
        """Close; the next question opens it again."""
        if self._sock is not None:
            self._sock.close()
        self._sock, self._region = None, None

    def ask(
        self,
        arrays: Mapping[str, Array],
        outputs: list[Json],
        timeout_s: float,
        deadline_s: float | None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[dict[str, Array], Json]:
        """Return the outputs, and who answered.

        outputs: rows of the metadata, for their sizes. meanwhile: done while the model computes; a ClientError that it
        raises is raised in the place of the answer. Raises as `Connection.exchange`, ClientError for what the worker
        refuses, and Unavailable.
        """
        end = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    return self._ask(arrays, outputs, end, deadline_s, meanwhile)
                except _TooSmall as small:
                    # Measured from the first byte of the file, so it is more than what the outputs alone need.
                    self._needs = small.needs
                    self._region = None
        except (ClientError, Unavailable):
            raise
        except BaseException:
            # A question that is still being answered reads the file: both are left to it.
            self.close()
            raise

    def _ask(
        self,
        arrays: Mapping[str, Array],
        outputs: list[Json],
        end: float,
        deadline_s: float | None,
        meanwhile: Callable[[], None],
    ) -> tuple[dict[str, Array], Json]:
        if self._sock is None:
            self._sock = self._open(end)
            self._region = None
        sock = self._sock
        if self._region is None or not self._region.fits(arrays):
            self._region = None
            region = _Region(arrays, max(self._needs, _output_bytes(outputs, arrays)))
            self._needs = 0
            last, self._who = self._ring(sock, ATTACH, region.words, region.descriptor, end, 0)
            self._region = region
            if last:
                self.close()
                raise Lost("the worker is about to end")
        self._region.write(arrays)
        micros = 0 if deadline_s is None else max(1, int(deadline_s * 1e6))
        last, said = self._ring(sock, RUN, b"", None, end, micros, meanwhile)
        found = self._region.read(said)
        if last:
            self.close()
        return found, self._who

    def _open(self, end: float) -> socket.socket:
        sock = self._connection.open(end)
        try:
            head = (
                f"GET /v2/models/{self._model}/frames HTTP/1.1\r\nHost: localhost\r\n"
                f"Connection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
            )
            send(sock, [head.encode()], end)
            answer = receive(sock, end)
            if answer.status == 503:
                raise error_for(503, answer.body)
            if answer.status != 101:
                raise Unavailable(f"HTTP {answer.status}")
        except BaseException:
            sock.close()
            raise
        return sock

    def _ring(
        self,
        sock: socket.socket,
        kind: int,
        words: bytes,
        descriptor: int | None,
        end: float,
        deadline_us: int,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[bool, Json]:
        """Return whether it is the last answer on this connection, and its JSON."""
        self._number = (self._number + 1) % 2**32
        bell = BELL.pack(kind, 0, self._number, min(deadline_us, 2**32 - 1), len(words)) + words
        sock.settimeout(max(0.001, end - time.monotonic()))
        try:
            if descriptor is not None:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
                sent = sock.sendmsg([bell], [rights])
                send(sock, [bell[sent:]], end)
            else:
                sock.sendall(bell)
            wrong: ClientError | None = None
            try:
                meanwhile()
            except ClientError as error:
                wrong = error
            head = _exactly(sock, BELL.size, end, Lost)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Lost(str(error)) from error
        answered, status, number, _, length = BELL.unpack(head)
        if answered not in (ANSWER, LAST) or number != self._number or length > MAX_WORDS:
            raise Broken(
                f"an answer of kind {answered} to question {number} with {length} bytes came to {self._number}"
            )
        said = _exactly(sock, length, end, Broken) if length else b""
        if wrong is not None:
            # Where the outputs lie may have been told in the answer that is thrown away.
            self._region = None
            raise wrong
        if status != 200:
            if answered == LAST:
                self.close()
            _raise(status, said)
        try:
            found: Json = json.loads(said) if said else {}
        except ValueError as error:
            raise Broken(f"the worker says what is no JSON: {error}") from error
        return answered == LAST, found


class _Region:
    """A file in memory with the inputs, and behind them room for the outputs."""

    def __init__(self, arrays: Mapping[str, Array], room: int) -> None:
        rows: list[Json] = []
        at = 0
        for name, value in arrays.items():
            rows.append(
                {"name": name, "datatype": _DATATYPES[value.dtype.str], "shape": list(value.shape), "offset": at}
            )
            at = _up(at + value.nbytes)
        self._key = [(name, value.dtype, value.shape) for name, value in arrays.items()]
        size = at + room
        self.words = json.dumps({"bytes": size, "inputs": rows, "outputs_at": at}).encode()
        try:
            self.descriptor = os.memfd_create("edgefleet-frames", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
        except (OSError, AttributeError) as error:
            raise Unavailable(str(error)) from error
        try:
            os.ftruncate(self.descriptor, size)
            fcntl.fcntl(self.descriptor, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW)
            self._map = mmap.mmap(self.descriptor, size)
        except (OSError, ValueError) as error:
            os.close(self.descriptor)
            raise Unavailable(str(error)) from error
        self._inputs = {
            row["name"]: np.frombuffer(self._map, value.dtype, value.size, row["offset"]).reshape(value.shape)
            for row, value in zip(rows, arrays.values(), strict=True)
        }
        self._outputs: list[tuple[str, Array]] = []

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def fits(self, arrays: Mapping[str, Array]) -> bool:
        """Whether these arrays lie here in the same way."""
        return self._key == [(name, each.dtype, each.shape) for name, each in arrays.items()]

    def write(self, arrays: Mapping[str, Array]) -> None:
        """Put the inputs in."""
        for name, value in arrays.items():
            np.copyto(self._inputs[name], value)

    def read(self, said: Json) -> dict[str, Array]:
        """Return copies of the outputs; `said` names their places when they are new."""
        try:
            if "outputs" in said:
                self._outputs = [
                    (str(row["name"]), np.frombuffer(self._map, DTYPES[row["datatype"]], prod(row["shape"]), row["offset"])
                     .reshape(row["shape"])) for row in said["outputs"]
                ]  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Broken(f"the worker says outputs lie where they cannot: {error!r}") from error
        if not self._outputs:
            raise Broken("the answer has no outputs")
        return {name: view.copy() for name, view in self._outputs}


_DATATYPES = {np.dtype(code).str: name for name, code in DTYPES.items()}


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _output_bytes(rows: list[Json], arrays: Mapping[str, Array]) -> int:
    """Return room for the outputs as far as the metadata tells: a free first dimension is that of the inputs."""
    samples = max((value.shape[0] for value in arrays.values() if value.ndim), default=1)
    total = 0
    for row in rows:
        shape = list(row["shape"])
        if shape and shape[0] == -1:
            shape[0] = samples
        known = all(size >= 0 for size in shape)
        total += _up(prod(shape) * np.dtype(DTYPES[row["datatype"]]).itemsize if known else UNKNOWN_OUTPUT_BYTES)
    return max(total, ALIGNMENT)


def _exactly(sock: socket.socket, length: int, end: float, lost: type[Exception]) -> bytes:
    data = b""
    while len(data) < length:
        sock.settimeout(max(0.001, end - time.monotonic()))
        part = sock.recv(length - len(data))
        if not part:
            raise (Broken if data else lost)("the connection closed before the answer was whole")
        data += part
    return data


def _raise(status: int, said: bytes) -> None:
    try:
        found: Any = json.loads(said)
        needs = found.get("needs")
    except (ValueError, AttributeError):
        needs = None
    if isinstance(needs, int) and needs > 0:
        raise _TooSmall(needs)
    raise error_for(status, said)
