"""What came from the broker, as python-tuf's client asks for it: bytes by name, or the name of what must come first."""

import json
import re
from collections.abc import Iterator, Mapping

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from .look_memory import Rejected

HEAD = "head"
URL = "trust:/"
ROOT = re.compile(r"^[1-9][0-9]{0,9}\.root\.json\Z")


class NotHeld(DownloadError):
    """Metadata that did not come yet. A DownloadError, for the client lets only those through unchanged."""

    def __init__(self, *names: str) -> None:
        super().__init__(", ".join(names))
        self.names = names


class TargetsNotHeld(Exception):
    """Targets that did not come yet."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class Held(FetcherInterface):
    """Serves what is held. `head` tells that a root does not exist, which a broker cannot say."""

    def __init__(self, held: Mapping[str, bytes], head: int) -> None:
        self._held, self._head = held, head

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(URL)
        if name in self._held:
            return iter((self._held[name],))
        if ROOT.match(name) and root_number(name) > self._head:
            raise DownloadHTTPError(f"{name} does not exist", 404)
        raise NotHeld(name)


def root_number(name: str) -> int:
    """Return N of `N.root.json`."""
    return int(name.partition(".")[0])


def parse_head(data: bytes) -> int:
    """Return the number in `head`, an unsigned hint: lying with it is no more than withholding a root."""
    try:
        number = json.loads(data[:1000])["root"]
        if type(number) is not int or not 1 <= number < 10**9:
            raise ValueError(number)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Rejected(f"head must be {{'root': NUMBER}} and is {data[:40]!r}") from error
    return number
