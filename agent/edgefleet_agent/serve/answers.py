"""Answers of the Open Inference Protocol that need no model: for the workers and for the gateway, which has no numpy."""

from typing import Any

import msgspec

from .. import __version__
from . import words
from .errors import Refused
from .http import Request, Response, unpack

EXTENSIONS = ["binary_tensor_data", "statistics", "model_configuration", "model_repository"]
SHARED_MEMORY = "system_shared_memory"
JSON_LENGTH = "inference-header-content-length"
MAX_ID = 4096

Json = dict[str, Any]


def get(request: Request, body: object) -> Response:
    """Return `body` to a GET; raise Refused for another method."""
    readable(request)
    return Response(200, (msgspec.json.encode(body),))


def readable(request: Request) -> None:
    """Raise Refused when the method is none that reads."""
    if request.method not in ("GET", "HEAD"):
        raise method("GET")


def server(*, shared_memory: bool) -> Json:
    """Return what the server says of itself."""
    return {
        "name": "edgefleet",
        "version": __version__,
        "extensions": [*EXTENSIONS, SHARED_MEMORY] if shared_memory else EXTENSIONS,
    }


def index(request: Request, rows: list[Json]) -> Response:
    """Return the repository's index; a body `{"ready": true}` asks for those that are ready alone."""
    only(request, "POST")
    ready = False
    if len(request.body):
        asked, _ = split(request)
        ready = asked.get("ready") is True
    return Response(200, (msgspec.json.encode([row for row in rows if not ready or row["state"] == "READY"]),))


def unmovable(request: Request) -> Refused:
    """Return the refusal of `load` and `unload`."""
    if request.method != "POST":
        return method("POST")
    return Refused(403, "which model is served is decided by signed releases, not by callers on the device")


def only(request: Request, wanted: str) -> None:
    """Raise Refused when the method is not `wanted`."""
    if request.method != wanted:
        raise method(wanted)


def refusal(error: Refused) -> Response:
    """Return the answer that says `error`."""
    headers = {"Retry-After": "1"} if error.status == 503 else {}
    if error.status == 405:
        headers["Allow"] = str(error).rpartition(" ")[2]
    return Response(error.status, (msgspec.json.encode({"error": str(error)}),), headers)


def method(allowed: str) -> Refused:
    """Return the refusal of every other method than `allowed`."""
    return Refused(405, f"the method here is {allowed}")


def split(request: Request) -> tuple[Json, memoryview]:
    """Return the JSON part of the body and the bytes behind it."""
    body = unpack(request.body, request.headers.get("content-encoding", "").lower())
    text = request.headers.get(JSON_LENGTH)
    length = len(body)
    if text is not None:
        if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > length:
            raise Refused(400, f"Inference-Header-Content-Length is {text[:40]!r} and the body has {length} bytes")
        length = int(text)
    asked = words.decode(body[:length], "the request")
    if not isinstance(asked, dict):
        raise Refused(400, "the request is not a JSON object")
    if not isinstance(asked.get("id", ""), str):
        raise Refused(400, "id is no text")
    if len(asked.get("id", "")) > MAX_ID:
        raise Refused(400, f"id has {len(asked['id'])} characters and may have {MAX_ID}")
    return asked, body[length:]
