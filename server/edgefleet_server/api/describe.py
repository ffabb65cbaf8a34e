"""The description of the API, OpenAPI 3.1: what FastAPI knows, and what holds for every route, said once."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.routing import APIRoute

from .. import __version__
from ..client import telemetry, types
from ..client.types import Page

PREFIX = "/api"
"""Routes are written as `/v1/…` and live at `/api/v1/…`; the shorter address is served too."""

ANSWERS: dict[str, Any] = {
    "telemetry_fleet": telemetry.FleetTelemetry,
    "telemetry_region": telemetry.RegionTelemetry,
    "telemetry_release": telemetry.ReleaseTelemetry,
    "telemetry_compare": telemetry.Comparison,
    "telemetry_device": telemetry.DeviceTelemetry,
    "health_health": types.Health,
    "overview_show": types.Overview,
    "devices_list": Page[types.Device],
    "devices_show": types.DeviceDetail,
    "devices_latency": types.Latency,
    "devices_assign": types.Assigned,
    "devices_forget": types.Forgotten,
    "devices_clear_alarm": types.DeviceDetail,
    "devices_revoke": types.Revoked,
    "devices_send_command": types.Command,
    "devices_commands": Page[types.Command],
    "devices_command": types.Command,
    "rollouts_list": Page[types.Rollout],
    "rollouts_plan": types.Plan,
    "rollouts_start": types.Started,
    "rollouts_of_region": Page[types.Rollout],
    "rollouts_show": types.Rollout,
    "rollouts_pause": Page[types.Rollout],
    "rollouts_resume": Page[types.Rollout],
    "rollouts_go_back": Page[types.Rollout],
    "events_list": Page[types.Event],
    "releases_list": Page[types.Release],
    "audit_list": Page[types.Deed],
    "alerts_list": Page[types.Alert],
    "alerts_show": types.Alert,
    "alerts_acknowledge": types.Alert,
    "alerts_silence": types.Alert,
}
"""Operation -> type of its answer. A route that is not here is described as an object."""

WRITES = ("post", "put", "delete", "patch")
OPEN = ("/livez", "/readyz")
HEADER = "Idempotency-Key"


def operation_id(route: APIRoute) -> str:
    """Return a route's name to programs: its noun and its own name, as in `devices_list`."""
    return f"{noun_of(route.path)}_{route.name}"


def noun_of(path: str) -> str:
    """Return what a path is about: `devices` of /v1/devices/{device}; `health` of what is beside /v1."""
    return path.removeprefix(PREFIX).split("/")[2] if "/v1/" in path else "health"


def install(app: FastAPI) -> None:
    """Describe `app` so at /openapi.json."""
    plain = app.openapi

    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(plain())
        return app.openapi_schema

    app.openapi = description  # type: ignore[method-assign]


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's description with full addresses, types of answers, problems, keys and who may ask."""
    _, components = msgspec.json.schema_components(
        [*ANSWERS.values(), types.Problem], ref_template="#/components/schemas/{name}"
    )
    schemas = {**document.get("components", {}).get("schemas", {}), **components}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    paths: dict[str, Any] = {}
    for path, operations in document["paths"].items():
        shown = f"{PREFIX}{path}" if path.startswith("/v1/") else path
        paths[shown] = {method: _operation(path, method, row) for method, row in operations.items()}
    return {
        **document,
        "openapi": "3.1.0",
        "info": {
            "title": "EdgeFleet",
            "version": __version__,
            "description": "The API of one fleet's server. See docs/reference/api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "edgefleet server token new"}
            },
        },
        "security": [{"token": []}],
        "tags": [{"name": name} for name in sorted({noun_of(path) for path in paths})],
    }


def _operation(path: str, method: str, row: dict[str, Any]) -> dict[str, Any]:
    answers = {status: answer for status, answer in row["responses"].items() if status != "422"}
    if (kind := ANSWERS.get(row["operationId"])) is not None:
        for answer in answers.values():
            answer["content"] = {"application/json": {"schema": _reference(kind)}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    more: dict[str, Any] = {"tags": [noun_of(path)]}
    if path in OPEN:
        more["security"] = []
        answers.setdefault("503", {"description": "Not ready", "content": {"application/json": {"schema": {}}}})
    else:
        answers["default"] = {"description": "Why it was not done", "content": problem}
    if method in WRITES and path not in OPEN:
        key = {
            "name": HEADER,
            "in": "header",
            "required": False,
            "description": "the same key and the same request again get the first answer, for 24 hours",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }
        if "requestBody" not in row and method != "delete":
            # Without one a foreign page could send it: the guard wants JSON.
            more["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
        if method == "post":
            more["parameters"] = [*row.get("parameters", ()), key]
    return {**row, **more, "responses": answers}


def _reference(kind: Any) -> Mapping[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    return schema
