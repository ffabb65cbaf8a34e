"""An ETag on every whole answer to GET: who asks again with `If-None-Match` gets 304 and no body when nothing changed."""

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Tagged:
    """Stands before the routes. What is sent in parts (the live stream) passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get("if-none-match", "")
        start: Message | None = None

        async def tag(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] == 200:
                start = message
                return
            if start is not None:
                if not message.get("more_body"):
                    mark = f'"{hashlib.sha256(message.get("body", b"")).hexdigest()[:32]}"'
                    headers = MutableHeaders(raw=start["headers"])
                    headers["ETag"] = mark
                    if mark in wanted:
                        del headers["content-length"]
                        start["status"], message = 304, {"type": "http.response.body", "body": b""}
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, tag)
