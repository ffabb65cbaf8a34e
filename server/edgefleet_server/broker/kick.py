"""Ending a client's connection, through Mosquitto's dynamic-security plugin.

The plugin disconnects the clients of a name that it disables. It knows none of ours, so the name is made, disabled and removed in one
message: nothing of it stays, and a device that enrols again under the name needs no second step. This alone lets it in
again at once; the revocation list keeps it out.
"""

import json
import secrets
from typing import Any, Protocol

from ..errors import ServerError
from .mosquitto import CONTROL_ANSWER, CONTROL_TOPIC

ANSWER_S = 10.0


class CannotKick(ServerError):
    """The broker did not say that it ended the connection."""


class Asks(Protocol):
    """A link that can put a question to the broker itself."""

    def ask(self, topic: str, answer_topic: str, payload: bytes, timeout_s: float) -> bytes | None:
        """Return the next message on `answer_topic` after `payload` was sent, or None."""


def kick(link: Asks, name: str) -> str:
    """End the connections of the certificate's name `name`; return in words what was done. Raises CannotKick."""
    mark = secrets.token_hex(8)
    commands = [
        {"command": verb, "username": name, "correlationData": f"{mark}-{verb}"}
        for verb in ("createClient", "disableClient", "deleteClient")
    ]
    answer = link.ask(CONTROL_TOPIC, CONTROL_ANSWER, json.dumps({"commands": commands}).encode(), ANSWER_S)
    if answer is None:
        raise CannotKick(
            f"the broker did not answer on {CONTROL_TOPIC}: either the server has no connection to it, or it is not configured "
            "by edgefleet server broker config. A connection that stands lasts until the broker is restarted"
        )
    if (why := _refused(answer, f"{mark}-disableClient")) is not None:
        raise CannotKick(f"the broker did not end the connection of {name}: {why}")
    return f"the broker ended what {name} had open"


def _refused(answer: bytes, mark: str) -> str | None:
    try:
        rows: list[dict[str, Any]] = json.loads(answer)["responses"]
        row = next(row for row in rows if row.get("correlationData") == mark)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return f"it answered {answer[:200]!r}"
    error = row.get("error")
    return None if error is None else str(error)
