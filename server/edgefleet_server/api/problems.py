"""Errors as problem details (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from edgefleet_protocol.errors import ProtocolError
from edgefleet_trust.errors import BreaksRule, NotThere, TrustError

from ..errors import BadRequest, NotAllowed, NotFound, NoToken, Refused, ServerError

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (NotThere, 404),
    (NoToken, 401),
    (NotAllowed, 403),
    (Refused, 409),
    (BreaksRule, 409),
    (BadRequest, 422),
    (ProtocolError, 422),
    (ServerError, 500),
    (TrustError, 500),
)
"""The first that fits."""


def problem(status: int, detail: str, **more: Any) -> JSONResponse:
    """Return a problem of this HTTP status."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, media_type="application/problem+json")


def in_words(row: Mapping[str, Any]) -> str:
    """Return one complaint about what was sent: the field by its name, what it was, and what it should be."""
    # The first part is only where it stood: body, query or path.
    field = ".".join(str(part) for part in row["loc"][1:]) or "the body"
    said = row.get("input")
    was = f" is {said!r}" if isinstance(said, str | int | float) and len(str(said)) <= 80 else ""
    return f"{field}{was}: {row['msg'][:1].lower()}{row['msg'][1:]}"


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""

    def ours(request: Request, error: Exception) -> JSONResponse:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        answer = problem(status, str(error))
        if status == 401:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="edgefleet"'
        return answer

    for kind, _ in STATUS:
        app.add_exception_handler(kind, ours)

    @app.exception_handler(Exception)
    def _fault(request: Request, error: Exception) -> JSONResponse:
        return problem(500, f"a fault of the server ({type(error).__name__}); its log says where")

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, "; ".join(in_words(row) for row in error.errors()))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail))
