"""docs/reference/api.md, made from the description of the API, so that the page says what the code does."""

from typing import Any

from .problems import KINDS, STATUS, TYPE

HEAD = """# The API

Made from the server's own description by `edgefleet_server.api.reference`; a test compares the two. The whole of it, with every
field, is OpenAPI 3.1 at `/api/openapi.json` of a running server.

## Manners

- **Address**: `/api/v1/…`. What works today works there for as long as there is a v1: fields are added, never taken away.
- **Who asks**: `Authorization: Bearer ef_…`; a token comes from `edgefleet server token new`. Roles and regions: [rights](rights.md).
- **Lists** answer `{"items": [...], "next": ...}`. `limit` is at most 1000; `next` goes into `after` of the next request, and is null at
  the end. Marks are opaque. A page shows what is there when it is asked for: what comes or goes meanwhile neither repeats a row nor hides one.
- **Bodies** are JSON, at most 1 MB, with their length; a POST without anything to say sends `{}`.
- **Twice is once**: a POST with the header `Idempotency-Key` (1 to 255 visible characters, as a UUID) is done once in 24 hours. The same
  key with the same request gets the first answer, marked `Idempotency-Replayed: true`; with another request it is `409`. Keys belong to the
  name that the token has. A fault of the server (`5xx`) frees the key. PUT and DELETE are the same done twice.
- **ETag**: each answer to GET has one; `If-None-Match` gets `304` when nothing changed.
- **Live**: `GET /api/v1/live` are server-sent events: `ready` (from then on every change is told), `region`, `rollout`, `alert`, `happened`,
  `gone`, and `reset` (look anew). At least every 15 s comes a comment. `Last-Event-ID` gets what was missed of the last 2000. Of more than 50
  events of devices in a second the newest are told. Changes are told to whoever may see their region; `?region=` takes one, `?seconds=` ends it.
- **Times** are seconds since 1970 (`_s`), sizes are bytes. What a device lacks is null, never zero.

## From Python

`edgefleet_server.client` has a method for each route, and needs only the standard library and msgspec (`pip install --no-deps
edgefleet-server msgspec` installs it alone). Lists are iterators that ask for their next pages, problems are exceptions that carry the
problem, and what changes something is sent again with the same key when the line failed.

```python
from edgefleet_server.client import Api, Conflict

with Api("https://fleet.example:8300", token=secret, ca=Path("ca.pem")) as api:
    for device in api.devices(region="eu-west", status="failing"):
        print(device.id, device.models[0].failures)
    try:
        api.pause("eu-west", why="the line is down")
    except Conflict as refused:
        print(refused, refused.next)
    for message in api.live("eu-west"):
        print(message.event, message.data)
```

## Problems

Every error is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`, and often `next`: what to do about it.

"""


def page(document: dict[str, Any]) -> str:
    """Return the page, from the OpenAPI document."""
    lines = [HEAD, "| type | status | it means |", "|---|---|---|"]
    statuses = {word: status for _, status, word in STATUS}
    statuses |= {"foreign-request": 403, "too-large": 413, "too-many": 503}
    statuses |= {"key-reused": 409, "in-progress": 409, "answer-not-kept": 409}
    lines += [f"| `{TYPE}{word}` | {statuses[word]} | {title} |" for word, (title, _) in KINDS.items()]
    nouns: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, row in methods.items():
            nouns.setdefault(row["tags"][0], []).append(_row(path, method, row))
    for noun in sorted(nouns):
        lines += ["", f"## {noun}", "", "| | what it does | query | answer |", "|---|---|---|---|", *nouns[noun]]
    return "\n".join(lines) + "\n"


def _row(path: str, method: str, row: dict[str, Any]) -> str:
    query = ", ".join(f"`{one['name']}`" for one in row.get("parameters", ()) if one["in"] == "query")
    words = (row.get("description") or row.get("summary") or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return f"| `{method.upper()} {path}` | {words} | {query} | {_answer(row)} |"


def _answer(row: dict[str, Any]) -> str:
    for status, answer in sorted(row["responses"].items()):
        if status.startswith("2"):
            content: dict[str, Any] = answer.get("content", {})
            if "application/json" not in content:
                return ", ".join(content)
            reference = content["application/json"].get("schema", {}).get("$ref", "")
            name = reference.rpartition("/")[2]
            return f"page of {name[5:-1]}" if name.startswith("Page_") else name or "an object"
    return ""
