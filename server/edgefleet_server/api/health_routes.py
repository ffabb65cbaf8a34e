"""What machines ask: /metrics, with a token, and whether the server lives and is ready, without one."""

from collections.abc import Callable
from typing import Any, Protocol

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse

from ..metrics.text import CONTENT_TYPE, Family, write
from .asking import Asking, Who


class Collector(Protocol):
    """Knows what /metrics shows."""

    def collect(self, regions: frozenset[str] | None = None) -> list[Family]:
        """Return every family; of `regions` only, where they are given."""


def make_health_routes(
    asking: Asking,
    collector: Collector,
    not_ready: Callable[[], tuple[str, ...]],
    without: Callable[[], tuple[str, ...]] = tuple,
) -> APIRouter:
    """Return the routes. not_ready: names of the parts that cannot work now; without: of those that it can answer without."""
    routes = APIRouter()

    @routes.get("/metrics", response_class=PlainTextResponse)
    def metrics(actor: Who) -> PlainTextResponse:
        page = write(collector.collect(asking.somewhere(actor, "health.read")))
        return PlainTextResponse(page, media_type=CONTENT_TYPE)

    @routes.get("/livez")
    def lives() -> dict[str, bool]:
        """That it answers is the answer."""
        return {"alive": True}

    @routes.get("/readyz")
    def ready() -> Any:
        """200, or 503 with the names of the parts that cannot work now; it tells nothing of the fleet."""
        waiting = not_ready()
        said = {"ready": not waiting, "waiting_for": list(waiting), "without": list(without())}
        return JSONResponse(said, 503 if waiting else 200)

    return routes
