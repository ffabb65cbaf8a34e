"""Asking as an application does: the golden inputs through the model's Unix socket. Standard library only."""

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

from ..seams import WorkerSpec
from . import golden

OTHER_ANSWERED_S = 2.0
"""How long another release may still answer: the worker before may take a connection while it is told to stop."""


class _Wrong(Exception):
    """An answer that is not what was asked for."""


class _Other(Exception):
    """Another variant answered."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask_golden(path: Path, spec: WorkerSpec, deadline_s: float) -> str | None:
    """Return None when the worker behind `path` is `spec`'s and gives its golden answers within tolerance; else why not."""
    began = time.monotonic()
    end = began + deadline_s
    while True:
        try:
            answers = _ask_all(path, spec, end)
            return golden.compare(answers, spec.golden_folder, spec.golden, spec.interface, spec.provider)
        except _Other as other:
            if time.monotonic() >= min(end, began + OTHER_ANSWERED_S):
                return str(other)
            time.sleep(0.02)
        except _Wrong as wrong:
            return str(wrong)
        except TimeoutError:
            return f"{path.name} gave no golden answers within {deadline_s:.1f} s"
        except (OSError, http.client.HTTPException) as error:
            return f"{path.name} cannot be asked: {error or type(error).__name__}"
        except ValueError as error:
            return str(error)


def _ask_all(path: Path, spec: WorkerSpec, end: float) -> list[dict[str, bytes]]:
    answers: list[dict[str, bytes]] = []
    connection = _UnixConnection(path, _left(end))
    try:
        for sample in golden.samples(spec.golden_folder, spec.golden_inputs):
            connection.timeout = _left(end)
            if connection.sock is not None:
                connection.sock.settimeout(connection.timeout)
            answers.append(_ask(connection, spec, sample))
    finally:
        connection.close()
    return answers


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _ask(connection: http.client.HTTPConnection, spec: WorkerSpec, sample: golden.Sample) -> dict[str, bytes]:
    head = json.dumps(
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
    body = b"".join((head, *(sample[tensor.name] for tensor in spec.golden_inputs)))
    headers = {"Inference-Header-Content-Length": str(len(head))}
    connection.request("POST", f"/v2/models/{spec.model}/infer", body, headers)
    response = connection.getresponse()
    data = response.read()
    if response.status != 200:
        raise _Wrong(f"a golden sample got HTTP {response.status}: {data[:300].decode('utf-8', 'replace')}")
    return _read(spec, data, response.getheader("Inference-Header-Content-Length"))


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
