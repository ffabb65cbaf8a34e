"""Lists in pages: `limit`, `after`, and the answer `{"items": [...], "next": ...}`.

A route takes `limit: Limit = 100, after: After = None`, asks its store for `limit + 1` rows after the mark, and returns
`page(rows, limit, mark)`. `mark` names the last row shown; `seal` makes it from the columns that the list is ordered by.
"""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from ..errors import BadRequest

MOST = 1000
Limit = Annotated[int, Query(ge=1, le=MOST, description=f"how many rows at most, up to {MOST}")]
After = Annotated[str | None, Query(max_length=600, description="the `next` of the page before")]
Row = TypeVar("Row")


def page(
    rows: Sequence[Row], limit: int, mark: Callable[[Row], str], show: Callable[[Row], Any] | None = None
) -> dict[str, Any]:
    """Return the first `limit` of `rows` as a page; `next` is null when there were no more.

    show: turns a row into what is answered; only those on the page are shown.
    """
    shown = rows[:limit]
    return {
        "items": list(shown) if show is None else [show(row) for row in shown],
        "next": mark(shown[-1]) if len(rows) > limit else None,
    }


def seal(*parts: str | float) -> str:
    """Return a mark that holds `parts`. Whoever gets one hands it back as it is."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def unseal(mark: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Return the parts of a mark, None for none; raise BadRequest for one that no page gave out."""
    if mark is None:
        return None
    try:
        parts = json.loads(base64.urlsafe_b64decode(mark.encode("ascii") + b"=" * (-len(mark) % 4)))
        if not isinstance(parts, list) or len(parts) != len(kinds):
            raise ValueError
        for part, kind in zip(parts, kinds, strict=True):
            # bool is an int, and a database has numbers up to 2**63.
            if not isinstance(part, (int, float) if kind is float else kind) or isinstance(part, bool):
                raise ValueError
            if isinstance(part, int | float) and not abs(part) < 2**63:
                raise ValueError
            if isinstance(part, str) and "\0" in part:
                raise ValueError
    except (ValueError, RecursionError):  # what is no base64, no UTF-8 and no JSON are kinds of it
        raise BadRequest(f"after is {mark[:40]!r}, which no page gave out: take `next` as it came") from None
    return tuple(parts)
