"""Asking as an application does: the golden inputs through the model's Unix socket, without waiting. Standard library only.

The asking is a generator that gives what it waits for: the agent's turn goes on with it, a little at each poll.
"""

import contextlib
import json
import select
import socket
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..seams import Asked, WorkerSpec
from . import golden

OTHER_ANSWERED_S = 2.0
"""How long another release may still answer: the worker before may take a connection while it is told to stop."""
POLL_S = 0.02
"""What one poll may cost the agent's turn. A model that answers within it is done after few polls."""
AGAIN_S = 0.02
MAX_HEAD_BYTES, MAX_BODY_BYTES = 65_536, 256_000_000
PIECE_BYTES = 262_144


class _Wrong(Exception):
    """An answer that is not what was asked for."""


class _Other(Exception):
    """Another variant answered."""


@dataclass(frozen=True)
class _Until:
    """What the asking waits for: a socket, or a moment."""

    sock: socket.socket | None = None
    writing: bool = False
    moment: float = 0.0

    def holds(self, timeout_s: float) -> bool:
        """Return whether it came within `timeout_s`."""
        if self.sock is None:
            time.sleep(max(0.0, min(timeout_s, self.moment - time.monotonic())))
            return time.monotonic() >= self.moment
        poller = select.poll()
        poller.register(self.sock, select.POLLOUT if self.writing else select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))


class GoldenAsking:
    """Implements `seams.Asking`."""

    def __init__(self, path: Path, spec: WorkerSpec, deadline_s: float) -> None:
        """path: the socket. The deadline counts from now."""
        self._path, self._spec, self._deadline_s = path, spec, deadline_s
        self._ends_at = time.monotonic() + deadline_s
        self._run = _ask_until_answered(path, spec, time.monotonic() + min(deadline_s, OTHER_ANSWERED_S))
        self._until = _Until()
        self._asked: Asked | None = None

    def poll(self) -> Asked | None:
        """How it went, or None while it goes on."""
        leave_at = time.monotonic() + POLL_S
        while self._asked is None:
            now = time.monotonic()
            if now >= self._ends_at:
                self._end(f"{self._path.name} gave no golden answers within {self._deadline_s:.1f} s")
            elif now >= leave_at or not self._until.holds(min(leave_at, self._ends_at) - now):
                if time.monotonic() < self._ends_at:
                    return None
            else:
                self._go_on()
        return self._asked

    def stop(self) -> None:
        """Ask no more; the connection is closed."""
        self._run.close()

    def _go_on(self) -> None:
        try:
            self._until = next(self._run)
        except StopIteration as stop:
            self._end(stop.value)

    def _end(self, why_not: str | None) -> None:
        self._asked = Asked(why_not)
        self._run.close()


def _ask_until_answered(path: Path, spec: WorkerSpec, others_until: float) -> Generator[_Until, None, str | None]:
    """Ask; return None when the worker behind `path` is the spec's and right; else why not."""
    while True:
        try:
            answers = yield from _ask_all(path, spec)
            return golden.compare(answers, spec.golden_folder, spec.golden, spec.interface, spec.provider)
        except _Other as other:
            if time.monotonic() >= others_until:
                return str(other)
            yield _Until(moment=time.monotonic() + AGAIN_S)
        except _Wrong as wrong:
            return str(wrong)
        except OSError as error:
            return f"{path.name} cannot be asked: {error or type(error).__name__}"
        except ValueError as error:
            return str(error)


def _ask_all(path: Path, spec: WorkerSpec) -> Generator[_Until, None, list[dict[str, bytes]]]:
    answers: list[dict[str, bytes]] = []
    sock: socket.socket | None = None
    try:
        for sample in golden.samples(spec.golden_folder, spec.golden_inputs):
            if sock is None:
                sock = yield from _connect(path)
            data, length, keeps = yield from _exchange(sock, _request(spec, sample))
            answers.append(_read(spec, data, length))
            if not keeps:
                sock.close()
                sock = None
    finally:
        if sock is not None:
            sock.close()
    return answers


def _connect(path: Path) -> Generator[_Until, None, socket.socket]:
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(str(path))
            return sock
        except BlockingIOError:  # many wait to be accepted
            sock.close()
        except OSError:
            sock.close()
            raise
        yield _Until(moment=time.monotonic() + AGAIN_S)


def _exchange(sock: socket.socket, request: bytes) -> Generator[_Until, None, tuple[bytes, str | None, bool]]:
    """Return the body of the answer to one request, the length of its JSON part, and whether the connection lasts."""
    rest = memoryview(request)
    while rest:
        with contextlib.suppress(BlockingIOError):
            rest = rest[sock.send(rest[:PIECE_BYTES]) :]
        yield _Until(sock, writing=True)
    came = bytearray()
    while (end := came.find(b"\r\n\r\n")) < 0:
        if len(came) > MAX_HEAD_BYTES:
            raise _Wrong("a golden sample got an answer whose head does not end")
        came += yield from _receive(sock)
    status, fields = _head(bytes(came[:end]))
    try:
        size = int(fields.get("content-length", ""))
    except ValueError:
        raise _Wrong("a golden sample got an answer without its length") from None
    if not 0 <= size <= MAX_BODY_BYTES:
        raise _Wrong(f"a golden sample got an answer of {size} bytes")
    del came[: end + 4]
    while len(came) < size:
        came += yield from _receive(sock)
    if status != 200:
        raise _Wrong(f"a golden sample got HTTP {status}: {came[:300].decode('utf-8', 'replace')}")
    return bytes(came[:size]), fields.get("inference-header-content-length"), fields.get("connection") != "close"


def _receive(sock: socket.socket) -> Generator[_Until, None, bytes]:
    while True:
        yield _Until(sock)
        try:
            data = sock.recv(PIECE_BYTES)
        except BlockingIOError:
            continue
        if not data:
            raise ConnectionResetError("the connection was closed before the answer was whole")
        return data


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        return int(first.split()[1]), fields
    except (IndexError, ValueError):
        raise _Wrong(f"a golden sample got an answer that is not HTTP: {first[:100]!r}") from None


def _request(spec: WorkerSpec, sample: golden.Sample) -> bytes:
    said = json.dumps(
        {
            "inputs": [
                {
                    "name": tensor.name,
                    "datatype": tensor.datatype,
                    "shape": golden.sample_shape(tensor),
                    "parameters": {"binary_data_size": len(sample[tensor.name])},
                }
                for tensor in spec.golden_inputs
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    body = b"".join((said, *(sample[tensor.name] for tensor in spec.golden_inputs)))
    head = (
        f"POST /v2/models/{spec.model}/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        f"Inference-Header-Content-Length: {len(said)}\r\n\r\n"
    )
    return head.encode() + body


def _read(spec: WorkerSpec, data: bytes, length: str | None) -> dict[str, bytes]:
    try:
        size = int(length or "")
        said: dict[str, Any] = json.loads(data[:size])
        answered = said["parameters"]
        rows = [(str(row["name"]), int(row["parameters"]["binary_data_size"])) for row in said["outputs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _Wrong(f"a golden sample got an answer that is not of the protocol: {error}") from error
    who = (answered.get("release"), answered.get("variant_sha256"))
    if who != (spec.release, spec.variant_sha256):
        raise _Other(
            f"{who[0]} ({str(who[1])[:12]}) answered and {spec.release} ({spec.variant_sha256[:12]}) should have"
        )
    outputs: dict[str, bytes] = {}
    for name, count in rows:
        outputs[name] = data[size : size + count]
        size += count
    return outputs
