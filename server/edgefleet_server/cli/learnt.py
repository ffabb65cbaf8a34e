"""`edgefleet rollout measured` and `wishes`: what the fleet found out about variants."""

import argparse
import json
from typing import Any

from ..errors import BadRequest
from .client import Client
from .output import as_json, clean, megabytes, table

FORMAT = 1


def measured(arguments: argparse.Namespace) -> int:
    """Print or write what classes of devices measured."""
    client = Client(arguments.server, arguments.ca)
    rows = _every(client, "/v1/measurements", release=arguments.release)
    if arguments.out is not None:
        wished = _every(client, "/v1/wishes")
        whole = {"format": FORMAT, "measured": rows, "wishes": wished}
        try:
            arguments.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise BadRequest(
                f"{arguments.out} cannot be written: {error.strerror}. Name a file in a folder that is there with --out"
            ) from error
        print(f"{arguments.out}: {len(rows)} rows, {len(wished)} wishes")
    elif arguments.json:
        print(as_json(rows))
    elif not rows:
        print("No device has measured anything yet.")
    else:
        headings = ("release", "variant", "class", "devices", "p50", "p95", "memory", "served", "p50 served")
        print(table(headings, [_cells(row) for row in rows]))
    return 0


def wishes(arguments: argparse.Namespace) -> int:
    """Print the variants that are missing."""
    rows = _every(Client(arguments.server, arguments.ca), "/v1/wishes")
    if arguments.json:
        print(as_json(rows))
    elif not rows:
        print("Every device finds a variant that fits.")
    else:
        cells = [
            (row["region"], row["release"], row["hardware_class"], row["devices"], clean(row["why"])) for row in rows
        ]
        print(table(("region", "release", "class", "devices", "why nothing fits"), cells))
    return 0


def _every(client: Client, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = client.get(path, after=after or None, **query)
        found += page["items"]
        after = page["next"]
    return found


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    trial, served = row["trial"] or {}, row["served"] or {}
    return (
        row["release"],
        row["variant"],
        row["hardware_class"],
        trial.get("devices", "-"),
        _ms(trial.get("p50_s")),
        _ms(trial.get("p95_s")),
        megabytes(trial["memory_bytes"]) if trial.get("memory_bytes") else "-",
        served.get("requests", "-"),
        _ms(served.get("p50_s")),
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f} ms"
