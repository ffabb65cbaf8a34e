"""What a browser is told, and what it is not let do: a page anywhere can make it ask a server that only it can reach."""

from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.responses import Response

from .problems import problem

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it a browser says `Origin: null` also when one of our own forms is sent.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOCAL_NAMES = {"127.0.0.1", "localhost", "::1"}
MAX_BODY_BYTES = 1_000_000
SAFE = {"GET", "HEAD", "OPTIONS"}
FORM = "application/x-www-form-urlencoded"


def why_not(
    method: str,
    host: str,
    origin: str | None,
    content_type: str,
    length: str | None,
    names: Collection[str] = (),
    coding: str | None = None,
    *,
    form: bool = False,
) -> str | None:
    """Return why a request is refused, or None. Pure.

    names: beside those of loopback; coding: of the transfer; form: it is for a page of ours, which takes forms.
    """
    if _name(host) not in LOCAL_NAMES and _name(host) not in names:
        # A foreign name that resolves to our address would make this server part of a foreign page's own site.
        ours = ", ".join(("127.0.0.1", "localhost", *sorted(names)))
        return f"the request is for the host {host!r}, and this server answers for {ours} only (http.names)"
    if method in SAFE:
        return None
    if origin is not None and _netloc(origin) != host:
        return f"the request comes from a page of {origin!r}"
    if method == "DELETE" and length in (None, "0") and coding is None:
        return None  # no page may send one to a foreign server without asking it first
    kind = content_type.partition(";")[0].strip().lower()
    if form and kind == FORM:
        # A foreign page can send one without asking, and then the browser says where it comes from.
        if origin is None:
            return "a form must say from which page it comes (Origin)"
    elif kind != "application/json":
        # A form or plain text goes out without the browser asking us first; JSON does not.
        return "the body must be sent as application/json"
    if coding is not None:
        # HTTP lets chunks count before the length that is said beside them, and the body is read before its sender is known.
        return "the body must come with its length, and not in chunks"
    if length is None or not length.isascii() or not length.isdigit():
        return f"the body must say its length, at most {MAX_BODY_BYTES} bytes"
    return None


def too_large(method: str, length: str | None) -> str | None:
    """Return why a body is not read, or None. length: as it was said, and let through by `why_not`."""
    if method in SAFE or length is None or not length.isdigit():
        return None
    # By its digits first: of very many of them no number is made.
    if len(length.lstrip("0")) <= len(str(MAX_BODY_BYTES)) and int(length) <= MAX_BODY_BYTES:
        return None
    said = length if len(length) <= 20 else f"{length[:20]}…"
    return f"the body has {said} bytes and may have {MAX_BODY_BYTES}"


def install(app: FastAPI, names: Collection[str] = ()) -> None:
    """Guard every request to `app`. names: hosts, beside those of loopback, that requests may be for."""
    known = frozenset(name.lower() for name in names)

    @app.middleware("http")
    async def _guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        headers = request.headers
        reason = why_not(
            request.method,
            headers.get("host", ""),
            headers.get("origin"),
            headers.get("content-type", ""),
            headers.get("content-length"),
            known,
            headers.get("transfer-encoding"),
            form=not request.url.path.startswith(("/v1/", "/api/")),
        )
        if reason is not None:
            response: Response = problem(403, reason)
        elif (reason := too_large(request.method, headers.get("content-length"))) is not None:
            response = problem(413, reason)
        elif await _has_nul(request):
            # No name and no reason has one, and a PostgreSQL would refuse it in the middle of the work.
            response = problem(422, "the request has a character NUL in it, which no text may have")
        else:
            response = await go_on(request)
        response.headers.update(HEADERS)
        if not request.url.path.startswith("/static/"):
            response.headers["Cache-Control"] = "no-store"
        return response


async def _has_nul(request: Request) -> bool:
    if "\0" in request.url.path or b"%00" in request.scope["query_string"]:
        return True
    if request.method in SAFE:
        return False
    body = await request.body()
    return b"\\u0000" in body or b"\0" in body


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # as of "[": a name of nobody
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
