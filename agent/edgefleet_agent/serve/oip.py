"""The Open Inference Protocol, REST: what is answered to a request, without any socket.

Version 2 of KServe's protocol with Triton's extensions `binary_tensor_data`, `statistics`, `model_configuration`,
`model_repository` (read-only: the device obeys signed releases, not local callers) and, where the device's owner turned it
on, `system_shared_memory`. Errors are `{"error": text}` with Triton's statuses. What JSON has no word for is refused with
the advice to ask for binary data: 16 bit floats, NaN and infinity.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np

from . import about
from .answers import get, index, method, only, readable, refusal, server, split, unmovable
from .core import Core, Ran, check_shape
from .errors import Refused
from .http import Request, Response
from .runtime import Array
from .shared import Part, Regions, part_of
from .tensors import from_json, from_raw, to_raw

NUMBERS_AT_ONCE = 16384

Json = dict[str, Any]


@dataclass(frozen=True)
class _Wanted:
    """An output that is asked for, and how."""

    name: str
    binary: bool
    part: Part | None = None


class Protocol:
    """Answers requests for one open model."""

    def __init__(self, core: Core, regions: Regions | None = None) -> None:
        """regions: None where shared memory is not turned on."""
        self._core, self._regions = core, regions

    def answer(self, request: Request) -> Response:
        """Return the answer, errors included. Never raises."""
        began = time.perf_counter()
        infer = False
        try:
            parts = [unquote(part) for part in request.path.partition("?")[0].strip("/").split("/")]
            infer = request.method == "POST" and parts[-1] == "infer"
            return self._infer(request, parts, began) if infer else self._other(request, parts)
        except Refused as error:
            refused = error
        except MemoryError:
            refused = Refused(503, "the request needs more memory than the model may use here")
        except Exception as error:  # a hole in the checks above: the client is told, and the worker goes on
            refused = Refused(500, f"the request could not be answered: {type(error).__name__}")
        if infer:
            self._core.refused(began, refused)
        return refusal(refused)

    def _other(self, request: Request, parts: list[str]) -> Response:
        if not parts or parts[0] != "v2":
            raise Refused(404, f"nothing is at {request.path[:200]}; the protocol begins at /v2")
        match parts[1:]:
            case []:
                return get(request, server(shared_memory=self._regions is not None))
            case ["health", "live"]:
                return get(request, {"live": True})
            case ["health", "ready"]:
                return get(request, {"ready": True})
            case ["models", "stats"]:
                return get(request, about.statistics(self._core))
            case ["repository", "index"]:
                row = {"name": self._core.spec.model, "version": self._core.version, "state": "READY", "reason": ""}
                return index(request, [row])
            case ["repository", "models", _, "load" | "unload"]:
                raise unmovable(request)
            case ["models", model, "versions", version, *rest]:
                return self._of_model(request, model, version, rest)
            case ["models", model, *rest]:
                return self._of_model(request, model, None, rest)
            case ["systemsharedmemory", *rest]:
                return self._shared_memory(request, rest)
        raise Refused(404, f"nothing is at {request.path[:200]}")

    def _of_model(self, request: Request, model: str, version: str | None, rest: list[str]) -> Response:
        self._check_name(model, version)
        match rest:
            case []:
                return get(request, about.metadata(self._core))
            case ["ready"]:
                return get(request, {"name": self._core.spec.model, "ready": True})
            case ["stats"]:
                return get(request, about.statistics(self._core))
            case ["config"]:
                return get(request, about.config(self._core))
            case ["infer"]:
                raise method("POST")
        raise Refused(404, f"nothing is at {request.path[:200]}")

    def _shared_memory(self, request: Request, rest: list[str]) -> Response:
        if self._regions is None:
            raise Refused(501, "shared memory is not turned on: [serve] shared_memory in the device's agent.toml")
        match rest:
            case ["status"]:
                return get(request, self._regions_said(None))
            case ["region", name, "status"]:
                readable(request)
                return get(request, self._regions_said(name))
            case ["region", name, "register"]:
                only(request, "POST")
                asked, _ = split(request)
                self._regions.register(name, asked)
                return Response(200)
            case ["region", name, "unregister"]:
                only(request, "POST")
                self._regions.unregister(name)
                return Response(200)
            case ["unregister"]:
                only(request, "POST")
                self._regions.unregister(None)
                return Response(200)
        raise Refused(404, f"nothing is at {request.path[:200]}")

    def _regions_said(self, name: str | None) -> list[Json]:
        assert self._regions is not None
        regions = self._regions.all()
        if name is not None and name not in regions:
            raise Refused(400, f"no region is called {name[:100]!r}")
        return [
            {"name": key, "key": region.key, "offset": region.offset, "byte_size": region.byte_size}
            for key, region in regions.items()
            if name in (None, key)
        ]

    def _check_name(self, model: str, version: str | None) -> None:
        spec = self._core.spec
        if model != spec.model:
            raise Refused(404, f"no model {model[:100]!r} is served here; this socket serves {spec.model!r}")
        if version not in (None, "", self._core.version):
            raise Refused(
                404, f"{model} is served in version {self._core.version}, not {version[:40] if version else version}"
            )

    def _infer(self, request: Request, parts: list[str], began: float) -> Response:
        arrived = time.monotonic()
        match parts:
            case ["v2", "models", model, "infer"]:
                self._check_name(model, None)
            case ["v2", "models", model, "versions", version, "infer"]:
                self._check_name(model, version)
            case _:
                raise Refused(404, f"nothing is at {request.path[:200]}")
        asked, raw = split(request)
        inputs = self._read_inputs(asked, raw)
        wanted = self._read_outputs(asked)
        ran = self._core.run(inputs, _deadline(_parameters(asked), arrived))
        response = self._write(asked, wanted, ran)
        self._core.answered(began, ran)
        return response

    def _read_inputs(self, asked: Json, raw: memoryview) -> dict[str, Array]:
        rows = asked.get("inputs")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refused(400, "the request has no list of inputs")
        inputs: dict[str, Array] = {}
        for row in rows:
            name = row.get("name")
            spec = self._core.inputs.get(name) if isinstance(name, str) else None
            if spec is None:
                raise Refused(
                    400, f"unexpected input {str(name)[:100]!r}; {self._core.spec.model} takes {self._core.names()}"
                )
            if spec.name in inputs:
                raise Refused(400, f"the input {spec.name} comes twice")
            if row.get("datatype") != spec.datatype:
                raise Refused(
                    400, f"input {spec.name} has datatype {str(row.get('datatype'))[:20]} and must be {spec.datatype}"
                )
            shape = check_shape(row.get("shape"), spec.name, spec.shape)
            parameters = _parameters(row)
            if (part := self._part(parameters, spec.name)) is not None:
                assert self._regions is not None
                inputs[spec.name] = from_raw(self._regions.read(part), spec.datatype, shape, spec.name)
                continue
            size = parameters.get("binary_data_size")
            if size is None:
                inputs[spec.name] = from_json(row.get("data"), spec.datatype, shape, spec.name)
                continue
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw):
                raise Refused(400, f"input {spec.name} says {str(size)[:20]} binary bytes and {len(raw)} are left")
            inputs[spec.name] = from_raw(raw[:size], spec.datatype, shape, spec.name)
            raw = raw[size:]
        if missing := [name for name in self._core.inputs if name not in inputs]:
            raise Refused(
                400, f"missing input {', '.join(missing)}; {self._core.spec.model} takes {self._core.names()}"
            )
        if len(raw):
            raise Refused(400, f"{len(raw)} binary bytes belong to no input")
        return inputs

    def _part(self, parameters: Json, name: str) -> Part | None:
        if self._regions is None and parameters.get("shared_memory_region") is not None:
            raise Refused(501, "shared memory is not turned on here: send and ask for the tensor as binary data")
        return part_of(parameters, name)

    def _read_outputs(self, asked: Json) -> list[_Wanted]:
        default = bool(_parameters(asked).get("binary_data_output", False))
        rows = asked.get("outputs")
        if not rows:
            return [_Wanted(name, default) for name in self._core.outputs]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refused(400, "outputs is no list of outputs")
        wanted: list[_Wanted] = []
        for row in rows:
            name = row.get("name")
            if not isinstance(name, str) or name not in self._core.outputs:
                raise Refused(400, f"unexpected output {str(name)[:100]!r}; there is {', '.join(self._core.outputs)}")
            if any(name == earlier.name for earlier in wanted):
                raise Refused(400, f"the output {name} is asked twice")
            parameters = _parameters(row)
            if parameters.get("classification"):
                raise Refused(400, "classification is not supported; take the output and the labels of the metadata")
            wanted.append(_Wanted(name, bool(parameters.get("binary_data", default)), self._part(parameters, name)))
        return wanted

    def _write(self, asked: Json, wanted: list[_Wanted], ran: Ran) -> Response:
        body: Json = {"model_name": self._core.spec.model, "model_version": self._core.version}
        if "id" in asked:
            body["id"] = asked["id"]
        body["parameters"] = self._core.who
        json: list[bytes] = [msgspec.json.encode(body)[:-1], b',"outputs":[']
        pieces: list[memoryview] = []
        for number, want in enumerate(wanted):
            values, datatype = ran.results[want.name], self._core.outputs[want.name].datatype
            row: Json = {"name": want.name, "datatype": datatype, "shape": list(values.shape)}
            json += [b","] if number else []
            if want.part is not None:
                assert self._regions is not None
                data = to_raw(values, datatype)
                self._regions.write(want.part, data)
                row["parameters"] = {"shared_memory_region": want.part.name, "shared_memory_byte_size": len(data)}
                if want.part.offset:
                    row["parameters"]["shared_memory_offset"] = want.part.offset
                json.append(msgspec.json.encode(row))
            elif want.binary:
                data = to_raw(values, datatype)
                row["parameters"] = {"binary_data_size": len(data)}
                pieces.append(data)
                json.append(msgspec.json.encode(row))
            else:
                _check_json(want.name, datatype, values)
                json += [msgspec.json.encode(row)[:-1], b',"data":[', *_numbers(values), b"]}"]
        json.append(b"]}")

        def after() -> None:
            self._core.told(ran)

        if not pieces:
            return Response(200, json, after=after)
        length = sum(map(len, json))
        headers = {"Inference-Header-Content-Length": str(length)}
        return Response(200, (*json, *pieces), headers, "application/octet-stream", after)


def _check_json(name: str, datatype: str, values: Array) -> None:
    """Raise Refused for what JSON has no word for."""
    if datatype == "FP16":
        raise Refused(400, f"output {name} is FP16, which JSON cannot carry: ask for binary data")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Refused(400, f"output {name} has NaN or infinity, which JSON cannot carry: ask for binary data")


def _deadline(parameters: Json, arrived: float) -> float | None:
    """Return when the answer is of no more use: `deadline_ms`, ours, or `timeout` in microseconds, Triton's."""
    for name, unit in (("deadline_ms", 1e3), ("timeout", 1e6)):
        value = parameters.get(name)
        if value is None or (name == "timeout" and value == 0):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
            raise Refused(400, f"{name} is {str(value)[:40]} and must be a positive number")
        return arrived + value / unit
    return None


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


def _parameters(row: Json) -> Json:
    parameters = row.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise Refused(400, "parameters is no object")
    return parameters
