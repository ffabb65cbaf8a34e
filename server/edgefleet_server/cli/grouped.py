"""A group as the audience of a rollout: what devices can judge for themselves, or the list of them as one stage."""

from typing import Any, Protocol

from ..errors import BadRequest, Refused

MOST = 500
"""Devices that a rollout may name: each name travels to every device of the region."""


class Asks(Protocol):
    """What is needed of the client."""

    def get(self, path: str, **query: str | int | float | bool | None) -> Any:
        """Return what GET answers."""


def narrowed(client: Asks, group: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return what `rollout plan` and `rollout start` send, for the devices of `group` only.

    A query of region, tags and classes becomes the audience, so that devices that come later take part. Any other one becomes a
    single stage that names the devices that it means now. Raises BadRequest where that contradicts what else was asked for.
    """
    found = client.get("/v1/select", query=group, limit=MOST)
    if not found["matched"]:
        raise Refused(f"no device matches {group}: see what there is with edgefleet device list")
    regions = _within(body["regions"], found["regions"], "regions", group)
    if found["audience"] is None:
        if body["stages"] != [100.0]:
            raise BadRequest(
                f"{found['query']} needs the list of its devices, which is one stage: leave --stages out, or give the devices a tag "
                "and roll out to that"
            )
        if found["matched"] > MOST:
            raise BadRequest(
                f"{found['query']} matches {found['matched']} devices and a rollout may name {MOST}: give them a tag, with "
                "edgefleet device tag add TAG --group …, and roll out to that"
            )
        return {**body, "regions": regions, "stages": [{"devices": found["items"]}]}
    mine, asked = found["audience"], body["audience"]
    audience = {
        "tags": list(dict.fromkeys([*asked["tags"], *mine["tags"]])),
        "hardware": _within(asked["hardware"], mine["hardware"] or None, "hardware", group),
    }
    return {**body, "regions": regions, "audience": audience}


def _within(asked: list[str], named: list[str] | None, what: str, group: str) -> list[str]:
    """Return what both allow; nothing asked, or nothing named, allows all."""
    if not named:
        return asked
    both = [name for name in asked if name in named] if asked else named
    if not both:
        raise BadRequest(f"{what} are {', '.join(asked)}, and {group} is for {', '.join(named)}: nobody is in both")
    return both
