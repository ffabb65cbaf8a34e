"""Which devices run a release: asked of a server, for a holder who is about to withdraw it."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from .errors import TrustError

TOKEN = "EDGEFLEET_TOKEN"
_LIMIT = 64_000_000
_TIMEOUT_S = 30


class ServerUnreachable(TrustError):
    """No server answered, or it did not let us ask."""

    exit_code = 7


def devices_that_run(server: str, names: Iterable[str]) -> list[str]:
    """Return the ids of the devices on which a release of `names` is active; raise ServerUnreachable."""
    wanted = set(names)
    return sorted(
        str(device.get("device") or device.get("id"))
        for device in _devices(server)
        if any(isinstance(row, dict) and row.get("release") in wanted for row in device.get("models", []))
    )


def _devices(server: str) -> list[dict[str, Any]]:
    url = server.rstrip("/") + "/v1/devices"
    if urlsplit(url).scheme not in ("http", "https"):
        raise ServerUnreachable(f"{server} is no server's address: write it as http://127.0.0.1:8300")
    headers = {"Authorization": f"Bearer {token}"} if (token := os.environ.get(TOKEN)) else {}
    # A proxy of the environment is for the world, not for this machine's own server.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
            found = json.loads(answer.read(_LIMIT))
    except urllib.error.HTTPError as error:
        raise ServerUnreachable(f"{url} answers {error.code} {error.reason}; a token belongs in {TOKEN}") from error
    except (OSError, ValueError) as error:
        raise ServerUnreachable(f"no server answers at {url}: {error}") from error
    rows = found.get("devices") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise ServerUnreachable(f"{url} answers, but not as an EdgeFleet server does")
    return [row for row in rows if isinstance(row, dict)]
