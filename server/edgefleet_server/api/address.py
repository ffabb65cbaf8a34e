"""One address with a version: /api/v1/… is what routes write as /v1/…."""

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/api"


class Versioned:
    """Hands /api/v1/… on as /v1/…, so that a route file need not know where the API lives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith(f"{PREFIX}/v1/") or path == f"{PREFIX}/openapi.json"):
            scope = {**scope, "path": path[len(PREFIX) :], "raw_path": scope.get("raw_path", b"")[len(PREFIX) :]}
        await self._app(scope, receive, send)
