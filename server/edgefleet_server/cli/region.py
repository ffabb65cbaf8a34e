"""`edgefleet region apply|list|show|diff|history|freeze|unfreeze`."""

import argparse
from pathlib import Path
from typing import Any

from ..client.api import part
from ..errors import BadRequest
from . import parser, toml_out
from .client import Client
from .output import ago, as_json, clean, table
from .toml_in import read_toml


def main(argv: list[str]) -> int:
    """Run `edgefleet region …`; return its exit code."""
    top = parser.new("region", "How regions are set: policies in versions, what may leave them, and freezes.")
    verbs = top.add_subparsers(metavar="VERB")
    one = verbs.add_parser(
        "apply",
        help="set regions anew, from a file",
        description="Set regions anew, as FILE says in [regions.NAME.policy], [regions.NAME.telemetry] and [regions.NAME]. What the "
        "file leaves out is set to its default. All regions of the file, or none. telemetry.keep_days only shortens what server.toml "
        "([keep], [regions.NAME.keep]) allows.",
    )
    one.add_argument("file", type=Path, metavar="FILE", help="TOML; edgefleet region show REGION --toml writes one")
    one.add_argument("--plan", action="store_true", help="say what would happen, and change nothing")
    one.add_argument("--why", default="", help="kept with the version")
    one.add_argument(
        "--if-version", type=int, metavar="N", help="only if N is the newest version now (0: none was applied yet)"
    )
    parser.remote(one)
    one.set_defaults(verb=_apply)
    one = verbs.add_parser("list", help="every region with its version, and whether it is frozen")
    parser.remote(one)
    one.set_defaults(verb=_list)
    one = verbs.add_parser("show", help="how a region is set now, and for how long its windows are kept")
    one.add_argument("region")
    one.add_argument("--toml", action="store_true", help="as a file that can be changed and applied")
    parser.remote(one)
    one.set_defaults(verb=_show)
    one = verbs.add_parser(
        "diff", help="what differs between two versions; by default, the last one and the one before"
    )
    one.add_argument("region")
    one.add_argument("before", type=int, nargs="?", metavar="BEFORE")
    one.add_argument("after", type=int, nargs="?", metavar="AFTER")
    parser.remote(one)
    one.set_defaults(verb=_diff)
    one = verbs.add_parser("history", help="every version of a region: who made it, when and why")
    one.add_argument("region")
    parser.remote(one)
    one.set_defaults(verb=_history)
    for name, text in (
        ("freeze", "let nothing new begin in a region, or in all at once; what serves goes on"),
        ("unfreeze", "end that"),
    ):
        one = verbs.add_parser(name, help=text)
        one.add_argument("region", nargs="?")
        one.add_argument("--all", action="store_true", dest="everywhere", help="every region")
        one.add_argument("--why", default="", help="told to the devices, and kept")
        parser.remote(one)
        one.set_defaults(verb=_freeze, hand=name)
    return parser.run(top, argv)


def read(path: Path) -> dict[str, Any]:
    """Return the regions of a file; raise NotFound or BadRequest."""
    rows = read_toml(path)
    regions = rows.get("regions")
    if extra := sorted(set(rows) - {"regions"}):
        raise BadRequest(f"{path} has {extra[0]}, and only regions are read: write [regions.NAME.policy]")
    if not isinstance(regions, dict) or not regions or not all(isinstance(row, dict) for row in regions.values()):
        raise BadRequest(f"{path} names no region: write [regions.NAME.policy], as in [regions.eu-west.policy]")
    return regions


def effect_text(row: dict[str, Any], planned: bool) -> str:
    """Return what applying does in a region, as people read it."""
    word = "would be" if planned else "is"
    if not row["changes"]:
        lines = [f"{row['region']}: nothing differs; version {row['version']} {word} what holds"]
    else:
        lines = [f"{row['region']}: version {row['version']} {word} what holds"]
        lines += [f"  {change_text(change)}" for change in row["changes"]]
    if any(change["key"] == "telemetry.keep_days" for change in row["changes"]):
        lines.append(f"  {row['kept']}")
    for fact in row["rollouts"]:
        follows = "follows" if fact["follows"] else "keeps what it has"
        lines.append(f"  {fact['release']} ({fact['status']}) {follows}: {fact['why']}")
    for move in row["moves"]:
        lines.append(
            f"  {move['devices']} of {move['hardware_class']} go from {move['before']} to {move['after']} of {move['release']}"
        )
    if row["changes"] and not row["moves"]:
        lines.append("  no device chooses another variant for it, as far as is known")
    lines.append(f"  {row['devices']} devices are known there; {row['reaches']}")
    return "\n".join(clean(line) if not line.startswith("  ") else f"  {clean(line[2:])}" for line in lines)


def change_text(change: dict[str, Any]) -> str:
    """Return one setting that differs."""
    before, after = (_said(change[key]) for key in ("before", "after"))
    return f"{change['key']}: {before} -> {after}"


def _said(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else str(value)


def _apply(arguments: argparse.Namespace) -> int:
    client, body = Client(arguments.server, arguments.ca), {"regions": read(arguments.file)}
    if arguments.plan:
        answer = client.post("/v1/regions/plan", body)
    else:
        answer = client.post("/v1/regions", {**body, "why": arguments.why, "if_version": arguments.if_version})
    if arguments.json:
        print(as_json(answer))
    else:
        print("\n\n".join(effect_text(row, arguments.plan) for row in answer["regions"]))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    rows = _all(client, "/v1/regions")
    if arguments.json:
        print(as_json(rows))
        return 0
    now_s = client.get("/healthz")["now_s"]
    lines = [
        (row["region"], row["version"] or "server.toml", row["by"], ago(now_s, row["at_s"]) if row["at_s"] else None,
         row["frozen"])
        for row in rows
    ]  # fmt: skip
    print(table(("region", "version", "by", "since", "frozen by"), lines))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    row = Client(arguments.server, arguments.ca).get(f"/v1/regions/{part(arguments.region)}")
    if arguments.json:
        print(as_json(row))
        return 0
    text = toml_out.write(row["settings"], ("regions", row["region"]))
    if arguments.toml:
        print(text, end="")
        return 0
    by = (
        f"version {row['version']}, by {row['by']}{': ' + row['why'] if row['why'] else ''}"
        if row["version"]
        else "server.toml"
    )
    print(clean(f"{row['region']}: {by}{'; frozen by ' + row['frozen'] if row['frozen'] else ''}"))
    print("\n" + "\n".join(clean(line) if line else "" for line in text.splitlines()))
    if text.strip() == f"[regions.{row['region']}]":
        print("everything is at its default: see docs/reference/configuration.md")
    print("\n" + clean(row["windows_kept"]["words"]))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    path = f"/v1/regions/{part(arguments.region)}/diff"
    row = Client(arguments.server, arguments.ca).get(path, before=arguments.before, after=arguments.after)
    if arguments.json:
        print(as_json(row))
        return 0
    if not row["after"]:
        print(f"No version of {arguments.region} was applied yet: server.toml holds there.")
        return 0
    print(f"{clean(row['region'])}: from version {row['before']} to {row['after']}")
    for change in row["changes"]:
        print(f"  {clean(change_text(change))}")
    if not row["changes"]:
        print("  nothing differs")
    return 0


def _history(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    rows = _all(client, f"/v1/regions/{part(arguments.region)}/versions")
    if arguments.json:
        print(as_json(rows))
        return 0
    if not rows:
        print(f"No version of {arguments.region} was applied yet: server.toml holds there.")
        return 0
    now_s = client.get("/healthz")["now_s"]
    print(
        table(
            ("version", "by", "when", "why"), [(r["version"], r["by"], ago(now_s, r["at_s"]), r["why"]) for r in rows]
        )
    )
    return 0


def _freeze(arguments: argparse.Namespace) -> int:
    if bool(arguments.region) == arguments.everywhere:
        raise BadRequest("name one region, or say --all, and not both")
    where = "" if arguments.everywhere else f"/regions/{part(arguments.region)}"
    answer = Client(arguments.server, arguments.ca).post(f"/v1{where}/{arguments.hand}", {"why": arguments.why})
    if arguments.json:
        print(as_json(answer))
    else:
        done = "frozen" if arguments.hand == "freeze" else "no longer frozen"
        there = ", ".join(answer["changed"])
        print(f"{there}: {done}; devices hear of it with the next signed document" if there else "it was so already")
    return 0


def _all(client: Client, path: str) -> list[dict[str, Any]]:
    """Return every item of a list that comes in parts."""
    items: list[dict[str, Any]] = []
    after: str | int | None = None
    while True:
        part = client.get(path, after=after)
        items += part["items"]
        after = part["next"]
        if after is None:
            return items
