"""Asking a server, and turning its answers into exit codes."""

import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..errors import BadRequest, NotAllowed, NotFound, Refused, ServerError

DEFAULT = "http://127.0.0.1:8300"
VARIABLE = "EDGEFLEET_SERVER"
CA_VARIABLE = "EDGEFLEET_CA"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "EDGEFLEET_TOKEN", "EDGEFLEET_TOKEN_FILE"
TIMEOUT_S = 30.0


class Unreachable(ServerError):
    """No server answered."""


def token() -> str | None:
    """Return the token that the environment has or names a file of, or None; raise BadRequest for a file that fails."""
    if secret := os.environ.get(TOKEN_VARIABLE):
        return secret.strip()
    if not (path := os.environ.get(TOKEN_FILE_VARIABLE)):
        return None
    try:
        if Path(path).stat().st_mode & 0o077:
            raise BadRequest(f"{path}, which {TOKEN_FILE_VARIABLE} names, can be read by others: chmod 600 {path}")
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path}, which {TOKEN_FILE_VARIABLE} names, cannot be read: {error}") from error


class Client:
    """One server's API. The token comes from the environment or a file that it names, never from the command line."""

    def __init__(self, url: str | None, ca: Path | None = None) -> None:
        """ca: the authority that the server's certificate is of, where it is none that the system knows."""
        self.url = (url or os.environ.get(VARIABLE) or DEFAULT).rstrip("/")
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc:
            raise BadRequest(f"{self.url!r} is no server's address: write it as {DEFAULT}, with --server or {VARIABLE}")
        headers, named = {}, ca or (Path(path) if (path := os.environ.get(CA_VARIABLE)) else None)
        if secret := token():
            parts = urlsplit(self.url)
            if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
                raise BadRequest(
                    f"{self.url} is not encrypted, and whoever is in between could take the token: use https"
                )
            headers["Authorization"] = f"Bearer {secret}"
        try:
            verify = True if named is None else ssl.create_default_context(cafile=str(named))
        except OSError as error:  # ssl.SSLError is one
            raise BadRequest(f"{named} is no certificate of an authority: {error.strerror or error}") from error
        # A proxy of the environment is for the world, not for this machine's own server.
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT_S, trust_env=False, headers=headers, verify=verify)

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
        kinds = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Refused, 422: BadRequest}
        raise kinds.get(answer.status_code, ServerError)(str(detail))
