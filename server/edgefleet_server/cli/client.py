"""Asking a server, and turning its answers into exit codes."""

import os
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..errors import BadRequest, NotFound, Refused, ServerError

DEFAULT = "http://127.0.0.1:8300"
VARIABLE = "EDGEFLEET_SERVER"
TIMEOUT_S = 30.0


class Unreachable(ServerError):
    """No server answered."""


class Client:
    """One server's API."""

    def __init__(self, url: str | None) -> None:
        self.url = (url or os.environ.get(VARIABLE) or DEFAULT).rstrip("/")
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc:
            raise BadRequest(f"{self.url!r} is no server's address: write it as {DEFAULT}, with --server or {VARIABLE}")
        # A proxy of the environment is for the world, not for this machine's own server.
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT_S, trust_env=False)

    def get(self, path: str, **query: str | int | float | bool | None) -> Any:
        """Return what GET answers."""
        return self._ask("GET", path, params={key: value for key, value in query.items() if value is not None})

    def post(self, path: str, body: dict[str, Any], **query: str | None) -> Any:
        """Return what POST answers."""
        params = {key: value for key, value in query.items() if value is not None}
        return self._ask("POST", path, json=body, params=params)

    def put(self, path: str, body: dict[str, Any]) -> Any:
        """Return what PUT answers."""
        return self._ask("PUT", path, json=body)

    def delete(self, path: str, **query: bool) -> Any:
        """Return what DELETE answers."""
        return self._ask("DELETE", path, json={}, params=query)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            answer = self._http.request(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"no server answers at {self.url}: {error}. Start one with edgefleet server run, or name it with "
                f"--server or {VARIABLE}"
            ) from error
        try:
            body = answer.json()
        except ValueError:
            raise Unreachable(f"{self.url} answers, but not as an EdgeFleet server does") from None
        if answer.is_success:
            return body
        detail = body.get("detail", answer.reason_phrase) if isinstance(body, dict) else answer.reason_phrase
        kinds = {404: NotFound, 403: Refused, 409: Refused, 422: BadRequest}
        raise kinds.get(answer.status_code, ServerError)(str(detail))
