"""Asking a server: where it is, and who asks, from the environment."""

import os
from pathlib import Path
from typing import Any

from ..client.api import Api
from ..errors import BadRequest

DEFAULT = "http://127.0.0.1:8300"
VARIABLE = "EDGEFLEET_SERVER"
CA_VARIABLE = "EDGEFLEET_CA"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "EDGEFLEET_TOKEN", "EDGEFLEET_TOKEN_FILE"


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


class Client(Api):
    """One server's API as the command line asks it: in typed answers, or raw, to print what came as it came.

    The token comes from the environment or a file that it names, never from the command line.
    """

    def __init__(self, url: str | None, ca: Path | None = None) -> None:
        """ca: the authority that the server's certificate is of, where it is none that the system knows."""
        named = ca or (Path(path) if (path := os.environ.get(CA_VARIABLE)) else None)
        super().__init__(url or os.environ.get(VARIABLE) or DEFAULT, token=token(), ca=named)

    def get(self, path: str, **query: str | int | float | bool | None) -> Any:
        """Return what GET answers."""
        return self.raw("GET", path, query)

    def rows(self, path: str, **query: str | int | float | bool | None) -> list[Any]:
        """Return all rows of a list, page after page."""
        found: list[Any] = []
        after: str | None = None
        while True:
            page = self.get(path, **{**query, "limit": 1000, "after": after})
            found += page["items"]
            if (after := page["next"]) is None:
                return found

    def post(self, path: str, body: dict[str, Any], **query: str | None) -> Any:
        """Return what POST answers."""
        return self.raw("POST", path, query, body)

    def put(self, path: str, body: dict[str, Any]) -> Any:
        """Return what PUT answers."""
        return self.raw("PUT", path, None, body)

    def delete(self, path: str, **query: bool) -> Any:
        """Return what DELETE answers."""
        return self.raw("DELETE", path, query, {})
