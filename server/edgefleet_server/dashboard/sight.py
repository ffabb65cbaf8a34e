"""What a page may show of what it is asked for: the span, the page of a list, and what whoever looks has a right to."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import Query, Request

from ..api.actor import Action, Actor

SPANS = {"1h": 3600.0, "6h": 6 * 3600.0, "24h": 86400.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}
Last = Annotated[str, Query(pattern="^(1h|6h|24h|7d|30d)$", description="how far back the charts go")]


@dataclass(frozen=True)
class Sight:
    """Whoever looks, and what of the page they may see."""

    actor: Actor

    def may(self, action: Action) -> bool:
        """Whether they may do it anywhere: what they may not see is left out of a page, and is no refusal."""
        return self.actor.actions is None or action in self.actor.actions


def link(request: Request, **changes: Any) -> str:
    """Return this page's address with some of its query changed; None takes a part out."""
    query: dict[str, Any] = dict(request.query_params)
    for name, value in changes.items():
        query[name] = value
    words = urlencode({name: value for name, value in query.items() if value not in (None, "")})
    return f"{request.url.path}?{words}" if words else request.url.path


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a form that was sent; nothing for what is no form."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    text = (await request.body()).decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(text, max_num_fields=20).items()}


def back(request: Request, wanted: str | None) -> str:
    """Return where a form leads back to: a page of ours, else the first one."""
    if (
        wanted
        and wanted.startswith("/")
        and not wanted.startswith(("//", "/\\"))
        and "\n" not in wanted
        and "\r" not in wanted
    ):
        return wanted
    return "/"
