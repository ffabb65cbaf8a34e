"""Which devices run a release: asked of a server, for a holder who is about to withdraw it."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from .errors import TrustError

TOKEN = "EDGEFLEET_TOKEN"
_LIMIT = 64_000_000
_TIMEOUT_S = 30


class ServerUnreachable(TrustError):
    """No server answered, or it did not let us ask."""

    exit_code = 7


def devices_that_run(server: str, names: Iterable[str]) -> list[str]:
    """Return the ids of the devices on which a release of `names` is active; raise ServerUnreachable."""
    return sorted({str(device.get("id")) for name in names for device in _devices(server, name)})


def _devices(server: str, release: str) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        found = _ask(server, f"/api/v1/devices?limit=1000&runs={quote(release, safe='')}{after}")
        rows = found.get("items") if isinstance(found, dict) else None
        if not isinstance(rows, list):
            raise ServerUnreachable(f"{server} answers, but not as an EdgeFleet server does")
        yield from (row for row in rows if isinstance(row, dict))
        if not found.get("next"):
            return
        after = f"&after={quote(str(found['next']), safe='')}"


def _ask(server: str, path: str) -> Any:
    url = server.rstrip("/") + path
    if urlsplit(url).scheme not in ("http", "https"):
        raise ServerUnreachable(f"{server} is no server's address: write it as http://127.0.0.1:8300")
    headers = {"Authorization": f"Bearer {token}"} if (token := os.environ.get(TOKEN)) else {}
    # A proxy of the environment is for the world, not for this machine's own server.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read(_LIMIT))
    except urllib.error.HTTPError as error:
        raise ServerUnreachable(f"{url} answers {error.code} {error.reason}; a token belongs in {TOKEN}") from error
    except (OSError, ValueError) as error:
        raise ServerUnreachable(f"no server answers at {url}: {error}") from error
