"""The Open Inference Protocol, REST: what is answered to a request, without any socket.

Version 2 of KServe's protocol with Triton's extensions `binary_tensor_data`, `statistics` and `model_repository`
(read-only: the device obeys signed releases, not local callers). Errors are `{"error": text}` with Triton's statuses.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from edgefleet_protocol.manifest import Interface
from edgefleet_protocol.names import parse_release_name

from .. import __version__
from ..seams import WorkerSpec
from .counters import Counters
from .errors import Refused
from .http import Request, Response, unpack
from .model import Model
from .runtime import Array
from .tensors import confidence, from_json, from_raw, to_raw

EXTENSIONS = ["binary_tensor_data", "statistics", "model_repository"]
JSON_LENGTH = "inference-header-content-length"

MAX_ID = 4096
NUMBERS_AT_ONCE = 16384

Json = dict[str, Any]
Turn = Callable[[Callable[[], dict[str, Array]]], dict[str, Array]]
"""Runs a function when it is its turn; raises Refused(503) when too many wait already."""


class Protocol:
    """Answers requests for one open model."""

    def __init__(self, spec: WorkerSpec, model: Model, counters: Counters, turn: Turn) -> None:
        self._spec, self._model, self._counters, self._turn = spec, model, counters, turn
        self._version = str(parse_release_name(spec.release)[1])
        self._inputs = {tensor.name: tensor for tensor in model.inputs}
        self._outputs = {tensor.name: tensor for tensor in model.outputs}
        self._meaning = spec.interface.outputs[0].meaning if spec.interface.task == "classification" else None
        self._parameters = {
            "release": spec.release,
            "variant": spec.variant,
            "variant_sha256": spec.variant_sha256,
        }

    def answer(self, request: Request) -> Response:
        """Return the answer, errors included. Never raises."""
        began = time.perf_counter()
        infer = False
        try:
            parts = [unquote(part) for part in request.path.partition("?")[0].strip("/").split("/")]
            infer = request.method == "POST" and parts[-1] == "infer"
            if infer:
                response, confidences = self._infer(request, parts)
                self._counters.answered(time.perf_counter() - began, confidences, time.time())
                return response
            return self._other(request, parts)
        except Refused as error:
            if infer:
                self._counters.refused(time.perf_counter() - began, by_us=error.status >= 500)
            return refusal(error)
        except MemoryError:
            if infer:
                self._counters.refused(time.perf_counter() - began, by_us=True)
            return refusal(Refused(503, "the request needs more memory than the model may use here"))
        except Exception as error:  # a hole in the checks above: the client is told, and the worker goes on
            if infer:
                self._counters.refused(time.perf_counter() - began, by_us=True)
            return refusal(Refused(500, f"the request could not be answered: {type(error).__name__}"))

    def _other(self, request: Request, parts: list[str]) -> Response:
        if not parts or parts[0] != "v2":
            raise Refused(404, f"nothing is at {request.path[:200]}; the protocol begins at /v2")
        match parts[1:]:
            case []:
                return self._get(request, {"name": "edgefleet", "version": __version__, "extensions": EXTENSIONS})
            case ["health", "live"]:
                return self._get(request, {"live": True})
            case ["health", "ready"]:
                return self._get(request, {"ready": True})
            case ["models", "stats"]:
                return self._get(request, self._statistics())
            case ["repository", "index"]:
                return self._post(request, [{"name": self._spec.model, "version": self._version, "state": "READY"}])
            case ["repository", "models", _, "load" | "unload"]:
                raise Refused(403, "which model is served is decided by signed releases, not by callers on the device")
            case ["models", model, "versions", version, *rest]:
                return self._of_model(request, model, version, rest)
            case ["models", model, *rest]:
                return self._of_model(request, model, None, rest)
        raise Refused(404, f"nothing is at {request.path[:200]}")

    def _of_model(self, request: Request, model: str, version: str | None, rest: list[str]) -> Response:
        self._check_name(model, version)
        match rest:
            case []:
                return self._get(request, self._metadata())
            case ["ready"]:
                return self._get(request, {"name": self._spec.model, "ready": True})
            case ["stats"]:
                return self._get(request, self._statistics())
            case ["infer"]:
                raise _method("POST")
        raise Refused(404, f"nothing is at {request.path[:200]}")

    def _check_name(self, model: str, version: str | None) -> None:
        if model != self._spec.model:
            raise Refused(404, f"no model {model[:100]!r} is served here; this socket serves {self._spec.model!r}")
        if version not in (None, "", self._version):
            raise Refused(
                404, f"{model} is served in version {self._version}, not {version[:40] if version else version}"
            )

    def _get(self, request: Request, body: Json) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise _method("GET")
        return Response(200, (msgspec.json.encode(body),))

    def _post(self, request: Request, body: list[Json]) -> Response:
        if request.method != "POST":
            raise _method("POST")
        return Response(200, (msgspec.json.encode(body),))

    def _metadata(self) -> Json:
        def rows(tensors: Mapping[str, Any]) -> list[Json]:
            return [
                {"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors.values()
            ]  # fmt: skip

        return {
            "name": self._spec.model,
            "versions": [self._version],
            "platform": f"{self._spec.runtime}_onnx" if self._spec.runtime == "onnxruntime" else self._spec.runtime,
            "inputs": rows(self._inputs),
            "outputs": rows(self._outputs),
            # The protocol lets a tensor's row have three fields and `parameters` have any: the contract goes there.
            "parameters": {
                **self._parameters,
                "labels": list(self._spec.interface.labels),
                "interface": _contract(self._spec.interface),
            },
        }

    def _statistics(self) -> Json:
        seen = self._counters
        none = {"count": 0, "ns": 0}
        good = {"count": seen.answered_total, "ns": seen.answered_ns}
        return {
            "model_stats": [
                {
                    "name": self._spec.model,
                    "version": self._version,
                    "last_inference": seen.last_ms,
                    "inference_count": seen.answered_total,
                    "execution_count": seen.answered_total,
                    "inference_stats": {
                        "success": good,
                        "fail": {"count": seen.refused_total, "ns": seen.refused_ns},
                        "queue": none,
                        "compute_input": none,
                        "compute_infer": good,
                        "compute_output": none,
                    },
                    "batch_stats": [],
                }
            ]
        }

    def _infer(self, request: Request, parts: list[str]) -> tuple[Response, list[float]]:
        match parts:
            case ["v2", "models", model, "infer"]:
                self._check_name(model, None)
            case ["v2", "models", model, "versions", version, "infer"]:
                self._check_name(model, version)
            case _:
                raise Refused(404, f"nothing is at {request.path[:200]}")
        asked, raw = _split(request)
        inputs = self._read_inputs(asked, raw)
        wanted = self._read_outputs(asked)
        results = self._turn(lambda: self._model.session.run(inputs))
        confidences: list[float] = []
        if self._meaning is not None:
            confidences = confidence(results[self._model.outputs[0].name], self._meaning)
        return self._write(asked, wanted, results), confidences

    def _read_inputs(self, asked: Json, raw: memoryview) -> dict[str, Array]:
        rows = asked.get("inputs")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refused(400, "the request has no list of inputs")
        inputs: dict[str, Array] = {}
        for row in rows:
            name = row.get("name")
            spec = self._inputs.get(name) if isinstance(name, str) else None
            if spec is None:
                raise Refused(400, f"unexpected input {str(name)[:100]!r}; {self._spec.model} takes {self._names()}")
            if spec.name in inputs:
                raise Refused(400, f"the input {spec.name} comes twice")
            if row.get("datatype") != spec.datatype:
                raise Refused(
                    400, f"input {spec.name} has datatype {str(row.get('datatype'))[:20]} and must be {spec.datatype}"
                )
            shape = _shape(row.get("shape"), spec.name, spec.shape)
            parameters = _parameters(row)
            if "shared_memory_region" in parameters:
                raise Refused(501, "shared memory is not supported; send the tensor as binary data")
            size = parameters.get("binary_data_size")
            if size is None:
                inputs[spec.name] = from_json(row.get("data"), spec.datatype, shape, spec.name)
                continue
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw):
                raise Refused(400, f"input {spec.name} says {str(size)[:20]} binary bytes and {len(raw)} are left")
            inputs[spec.name] = from_raw(raw[:size], spec.datatype, shape, spec.name)
            raw = raw[size:]
        if missing := [name for name in self._inputs if name not in inputs]:
            raise Refused(400, f"missing input {', '.join(missing)}; {self._spec.model} takes {self._names()}")
        if len(raw):
            raise Refused(400, f"{len(raw)} binary bytes belong to no input")
        return inputs

    def _names(self) -> str:
        return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in self._inputs.values())

    def _read_outputs(self, asked: Json) -> list[tuple[str, bool]]:
        """Which outputs are wanted, and whether each in binary."""
        default = bool(_parameters(asked).get("binary_data_output", False))
        rows = asked.get("outputs")
        if not rows:
            return [(name, default) for name in self._outputs]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refused(400, "outputs is no list of outputs")
        wanted: list[tuple[str, bool]] = []
        for row in rows:
            name = row.get("name")
            if not isinstance(name, str) or name not in self._outputs:
                raise Refused(400, f"unexpected output {str(name)[:100]!r}; there is {', '.join(self._outputs)}")
            if any(name == earlier for earlier, _ in wanted):
                raise Refused(400, f"the output {name} is asked twice")
            parameters = _parameters(row)
            if parameters.get("classification"):
                raise Refused(400, "classification is not supported; take the output and the labels of the metadata")
            if "shared_memory_region" in parameters:
                raise Refused(501, "shared memory is not supported; ask for the output as binary data")
            wanted.append((name, bool(parameters.get("binary_data", default))))
        return wanted

    def _write(self, asked: Json, wanted: list[tuple[str, bool]], results: Mapping[str, Array]) -> Response:
        body: Json = {"model_name": self._spec.model, "model_version": self._version}
        if "id" in asked:
            body["id"] = asked["id"]
        body["parameters"] = self._parameters
        json: list[bytes] = [msgspec.json.encode(body)[:-1], b',"outputs":[']
        pieces: list[memoryview] = []
        for number, (name, binary) in enumerate(wanted):
            values = results[name]
            datatype = self._outputs[name].datatype
            row: Json = {"name": name, "datatype": datatype, "shape": list(values.shape)}
            json += [b","] if number else []
            if binary:
                data = to_raw(values, datatype)
                row["parameters"] = {"binary_data_size": len(data)}
                pieces.append(data)
                json.append(msgspec.json.encode(row))
            else:
                if datatype == "FP16":
                    raise Refused(400, f"output {name} is FP16, which JSON cannot carry: ask for binary data")
                json += [msgspec.json.encode(row)[:-1], b',"data":[', *_numbers(values), b"]}"]
        json.append(b"]}")
        if not pieces:
            return Response(200, json)
        length = sum(map(len, json))
        return Response(
            200, (*json, *pieces), {"Inference-Header-Content-Length": str(length)}, "application/octet-stream"
        )


def _numbers(values: Array) -> Iterator[bytes]:
    """Yield `values` as JSON text, flat, a part at a time; raise MemoryError where there is no memory for a part.

    msgspec (0.22) crashes the process when the buffer that it writes into cannot grow, so parts are small, and there is
    known to be room for each.
    """
    flat = values.reshape(-1)
    for at in range(0, flat.size, NUMBERS_AT_ONCE):
        bytearray(NUMBERS_AT_ONCE * 64)
        text = msgspec.json.encode(flat[at : at + NUMBERS_AT_ONCE].tolist())
        yield text[1:-1] if at == 0 else b"," + text[1:-1]


def _contract(interface: Interface) -> Json:
    """Return what the tensors mean, by their names: all of the release's interface that the protocol has no field for."""
    return {
        "task": interface.task,
        "thresholds": dict(interface.thresholds),
        "inputs": {
            row.name: {
                "layout": row.layout,
                "colour": row.colour,
                "range": list(row.range) if row.range is not None else None,
                "resize": row.resize,
            }
            for row in interface.inputs
        },
        "outputs": {row.name: {"meaning": row.meaning} for row in interface.outputs},
    }


def refusal(error: Refused) -> Response:
    """Return the answer that says `error`."""
    headers = {"Retry-After": "1"} if error.status == 503 else {}
    if error.status == 405:
        headers["Allow"] = str(error).rpartition(" ")[2]
    return Response(error.status, (msgspec.json.encode({"error": str(error)}),), headers)


def _method(allowed: str) -> Refused:
    return Refused(405, f"the method here is {allowed}")


def _split(request: Request) -> tuple[Json, memoryview]:
    """Return the JSON part of the body and the bytes behind it."""
    body = unpack(request.body, request.headers.get("content-encoding", "").lower())
    text = request.headers.get(JSON_LENGTH)
    length = len(body)
    if text is not None:
        if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > length:
            raise Refused(400, f"Inference-Header-Content-Length is {text[:40]!r} and the body has {length} bytes")
        length = int(text)
    try:
        asked = msgspec.json.decode(body[:length])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the request is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise Refused(400, "the request is not a JSON object")
    if not isinstance(asked.get("id", ""), str):
        raise Refused(400, "id is no text")
    if len(asked.get("id", "")) > MAX_ID:
        raise Refused(400, f"id has {len(asked['id'])} characters and may have {MAX_ID}")
    return asked, body[length:]


def _parameters(row: Json) -> Json:
    parameters = row.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise Refused(400, "parameters is no object")
    return parameters


def _shape(value: object, name: str, wanted: tuple[int, ...]) -> tuple[int, ...]:
    plain = isinstance(value, list) and all(isinstance(size, int) and not isinstance(size, bool) for size in value)
    shape: tuple[int, ...] = tuple(value) if plain and isinstance(value, list) else ()
    fits = len(shape) == len(wanted) and all(
        0 < size < 2**31 if want == -1 else size == want for size, want in zip(shape, wanted, strict=True)
    )
    if not plain or not fits:
        raise Refused(400, f"input {name} has shape {str(value)[:100]} and must be {list(wanted)}")
    return shape
