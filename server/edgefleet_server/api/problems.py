"""Errors as problem details (RFC 9457)."""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from edgefleet_protocol.errors import ProtocolError
from edgefleet_trust.errors import BreaksRule, NotThere, TrustError

from ..errors import BadRequest, NotAllowed, NotFound, NotHere, NoToken, Refused, ServerError
from ..store.database import Unavailable
from ..store.outage import Outage

Page = Callable[[Request, dict[str, Any]], Response]
"""Makes a page of a problem, for a browser."""

STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (NotFound, 404, "not-found"),
    (NotThere, 404, "not-found"),
    (NoToken, 401, "no-token"),
    (NotAllowed, 403, "not-allowed"),
    (Refused, 409, "refused"),
    (BreaksRule, 409, "breaks-rule"),
    (BadRequest, 422, "bad-request"),
    (ProtocolError, 422, "bad-request"),
    (NotHere, 503, "not-here"),
    (ServerError, 500, "fault"),
    (TrustError, 500, "fault"),
    (Unavailable, 503, "unavailable"),
)
"""Kind of error, HTTP status, and the last word of the problem's type. The first that fits."""

TYPE = "urn:edgefleet:problem:"
KINDS: dict[str, tuple[str, str | None]] = {
    "not-found": ("It is not there, or not yours to see", None),
    "no-token": ("Nobody knows who asks", "send Authorization: Bearer TOKEN; edgefleet server token new makes one"),
    "not-allowed": (
        "You may not do this there",
        "docs/reference/rights.md says which role may; ask whoever keeps the server",
    ),
    "refused": ("A rule forbids it now", None),
    "breaks-rule": ("A rule of trust forbids it", None),
    "bad-request": ("It makes no sense as it was written", "/api/openapi.json has the form of every request"),
    "foreign-request": ("The request may come from a foreign page", None),
    "too-large": ("It is more than is read", "split it: a rollout by region, a long list of devices by a tag"),
    "too-many": ("There are too many already", None),
    "fault": ("A fault of the server", "try again; if it stays, the server's log says where"),
    "unavailable": (
        "The server cannot do it now",
        "try again in a moment; edgefleet server check says what it waits for",
    ),
    "not-here": ("Only the server itself can do it", None),
    "key-reused": ("The idempotency key was used for another request", None),
    "in-progress": ("The same request is still at work", None),
    "answer-not-kept": ("It was done, and its answer is not kept", None),
}
"""Last word of a problem's type -> its title, and what to do next where that is always the same."""
RETRY_AFTER_S = "2"
"""For whoever asked while the database is away."""
MOST_WORDS = 2000
"""Characters of what went wrong: a request of megabytes is not said back in whole."""
MOST_COMPLAINTS = 5
"""About one request: a list of a thousand wrong numbers has one thing wrong."""
BY_STATUS = {
    401: "no-token",
    403: "foreign-request",
    404: "not-found",
    409: "refused",
    413: "too-large",
    422: "bad-request",
    503: "unavailable",
}


def problem(status: int, detail: str, *, kind: str | None = None, next: str | None = None, **more: Any) -> JSONResponse:
    """Return a problem of this HTTP status. kind: of KINDS; next: what to do about it. `detail` becomes one line."""
    kind = kind or BY_STATUS.get(status) or ("fault" if status >= 500 else None)
    title, always = KINDS[kind] if kind else (HTTPStatus(status).phrase, None)
    body: dict[str, Any] = {
        "type": f"{TYPE}{kind}" if kind else "about:blank",
        "title": title,
        "status": status,
        "detail": one_line(detail),
        **more,
    }
    if (way := next or always) is not None:
        body["next"] = way
    return JSONResponse(body, status, media_type="application/problem+json")


def one_line(words: str) -> str:
    """Return `words` as one line that every log, terminal and JSON parser takes, of at most MOST_WORDS characters.

    What was sent is often said back, and may hold line ends, or halves of characters, which JSON can name and UTF-8 cannot say.
    """
    if len(words) > MOST_WORDS:
        words = f"{words[:MOST_WORDS]}… ({len(words)} characters)"
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode() for each in words
    )


def complaints(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what is wrong with a request, the first few things of it."""
    more = len(rows) - MOST_COMPLAINTS
    said = "; ".join(in_words(row) for row in rows[:MOST_COMPLAINTS])
    return f"{said}; and {more} more" if more > 0 else said


def in_words(row: Mapping[str, Any]) -> str:
    """Return one complaint about what was sent: the field by its name, what it was, and what it should be."""
    # The first part is only where it stood: body, query or path.
    field = ".".join(str(part) for part in row["loc"][1:]) or "the body"
    said = row.get("input")
    was = f" is {said!r}" if isinstance(said, str | int | float) and len(str(said)) <= 80 else ""
    words = row["msg"].removeprefix("Value error, ")
    return f"{field}{was}: {words[:1].lower()}{words[1:]}"


def _further(error: Exception) -> dict[str, Any]:
    """Return what a problem says beside its words: for what only the server can do, where that one is asked."""
    if isinstance(error, NotHere) and error.address:
        return {"server": error.address, "next": f"send the same request to {error.address}"}
    return {}


def install(app: FastAPI, outage: Outage) -> None:
    """Answer every error of `app` with a problem; what a browser asked for as a page, with a page that says the same."""

    def told(request: Request, answer: JSONResponse) -> Response:
        if answer.status_code == 401:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="edgefleet"'
        page: Page | None = getattr(app.state, "problem_page", None)
        if page is None or "text/html" not in request.headers.get("accept", "") or request.url.path.startswith("/v1/"):
            return answer
        return page(request, json.loads(bytes(answer.body)))

    def ours(request: Request, error: Exception) -> Response:
        status, kind = next((status, word) for kind, status, word in STATUS if isinstance(error, kind))
        said = str(error) if not isinstance(error, Unavailable) else f"the database cannot do it now: {error.orig}"
        answer = problem(status, said, kind=kind, **_further(error))
        if isinstance(error, Unavailable):
            outage.met("requests", error)
            answer.headers["Retry-After"] = RETRY_AFTER_S
        return told(request, answer)

    for kind, _, _ in STATUS:
        app.add_exception_handler(kind, ours)

    @app.exception_handler(Exception)
    def _fault(request: Request, error: Exception) -> Response:
        return told(request, problem(500, f"a fault of the server ({type(error).__name__}); its log says where"))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        return told(request, problem(422, complaints(error.errors())))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        way = "/api/openapi.json lists every route" if error.status_code in (404, 405) else None
        answer = problem(error.status_code, str(error.detail), next=way)
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return told(request, answer)
