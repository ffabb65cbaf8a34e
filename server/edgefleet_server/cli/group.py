"""`edgefleet group list|save|show|drop`, and what is done to many devices: `edgefleet device move|tag|freeze|…`."""

import argparse
from typing import Any

from ..client.api import part
from ..errors import BadRequest
from . import parser
from .client import Client
from .output import ago, as_json, clean, table

QUERY = "a query, as in 'region=eu-west tag=door status=online', or the name of a saved group"


def main(argv: list[str]) -> int:
    """Run `edgefleet group …`; return its exit code."""
    top = parser.new("group", "Groups of devices, saved as the query that finds them.")
    verbs = top.add_subparsers(metavar="VERB")
    one = verbs.add_parser("list", help="every group and its query")
    parser.remote(one)
    one.set_defaults(verb=_list)
    one = verbs.add_parser("save", help="save a query under a name")
    one.add_argument("group")
    one.add_argument(
        "query", help="terms KEY=VALUE, all of which must hold, as in 'tag=door class=pi4,pi5 status!=frozen'"
    )
    parser.remote(one)
    one.set_defaults(verb=_save)
    one = verbs.add_parser("show", help="which devices a group or a query means now")
    one.add_argument("group", help=QUERY)
    parser.remote(one)
    one.set_defaults(verb=_show)
    one = verbs.add_parser("drop", help="remove a group; its devices stay what they are")
    one.add_argument("group")
    parser.remote(one)
    one.set_defaults(verb=_drop)
    return parser.run(top, argv)


def choose(one: argparse.ArgumentParser) -> None:
    """Add the ways to name devices."""
    one.add_argument("devices", nargs="*", metavar="DEVICE")
    one.add_argument("--group", metavar="QUERY", help=QUERY)


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the part of a body that names devices; raise BadRequest for none or both."""
    if bool(arguments.devices) == (arguments.group is not None):
        raise BadRequest("name devices, or say --group QUERY, and not both")
    return {"group": arguments.group} if arguments.group is not None else {"devices": arguments.devices}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to `edgefleet device`."""
    one = verbs.add_parser("move", help="have devices belong to another region: all of them, or none")
    choose(one)
    one.add_argument("--region", required=True)
    one.add_argument("--why", default="", help="kept with the deed")
    parser.remote(one)
    one.set_defaults(verb=_move)
    one = verbs.add_parser("tag", help="add or remove tags: of all of the devices, or of none")
    one.add_argument("hand", choices=("add", "remove"))
    one.add_argument("tag", help="may be several, with commas")
    choose(one)
    one.add_argument("--why", default="", help="kept with the deed")
    parser.remote(one)
    one.set_defaults(verb=_tag)
    for name, text in (
        ("freeze", "let nothing new begin on devices; what serves goes on"),
        ("unfreeze", "end that"),
    ):
        one = verbs.add_parser(name, help=text)
        choose(one)
        one.add_argument("--why", default="", help="told to the devices, and kept")
        parser.remote(one)
        one.set_defaults(verb=_freeze, hand=name)
    one = verbs.add_parser(
        "decommission", help="take a device out of the fleet for good: certificates revoked, topics cleared"
    )
    one.add_argument("device")
    one.add_argument("--forget", action="store_true", help="remove all that it said; else it stays readable")
    one.add_argument("--why", default="", help="kept with the deed")
    parser.remote(one)
    one.set_defaults(verb=_decommission)
    one = verbs.add_parser("readmit", help="let the name of a decommissioned device be used again; it enrols anew")
    one.add_argument("device")
    one.add_argument("--why", default="", help="kept with the deed")
    parser.remote(one)
    one.set_defaults(verb=_readmit)
    one = verbs.add_parser("gone", help="devices that were decommissioned, and which of them spoke since")
    parser.remote(one)
    one.set_defaults(verb=_gone)


def every(client: Client, path: str, **query: str) -> list[Any]:
    """Return all items of a list that comes in parts."""
    items: list[Any] = []
    after: str | None = None
    while True:
        part = client.get(path, after=after, limit=1000, **query)
        items += part["items"]
        after = part["next"]
        if after is None:
            return items


def _list(arguments: argparse.Namespace) -> int:
    rows = every(Client(arguments.server, arguments.ca), "/v1/groups")
    if arguments.json:
        print(as_json(rows))
    elif not rows:
        print("No group was saved yet. Save one: edgefleet group save doors 'tag=door'")
    else:
        print(table(("group", "by", "query"), [(row["group"], row["by"], row["query"]) for row in rows]))
    return 0


def _save(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    row = client.put(f"/v1/groups/{part(arguments.group)}", {"query": arguments.query})
    if arguments.json:
        print(as_json(row))
    else:
        judged = "devices can judge it for themselves" if row["audience"] else "a rollout needs the list of its devices"
        print(f"{row['group']}: {row['query']}; {judged}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    names = every(Client(arguments.server, arguments.ca), "/v1/select", query=arguments.group)
    print(as_json(names) if arguments.json else "\n".join(map(clean, names)) or "no device matches now")
    return 0


def _drop(arguments: argparse.Namespace) -> int:
    row = Client(arguments.server, arguments.ca).delete(f"/v1/groups/{part(arguments.group)}")
    print(as_json(row) if arguments.json else f"{row['group']} is removed; its devices stay what they are")
    return 0


def _move(arguments: argparse.Namespace) -> int:
    body = {**chosen(arguments), "region": arguments.region, "why": arguments.why}
    return _say(
        arguments, "move", body, f"moved to {arguments.region}: what runs there goes on until the region's wish comes"
    )


def _tag(arguments: argparse.Namespace) -> int:
    tags = arguments.tag.split(",")
    body = {**chosen(arguments), arguments.hand: tags, "why": arguments.why}
    return _say(
        arguments, "tags", body, f"{'tagged' if arguments.hand == 'add' else 'no longer tagged'} {', '.join(tags)}"
    )


def _freeze(arguments: argparse.Namespace) -> int:
    done = "frozen: nothing new begins there" if arguments.hand == "freeze" else "no longer frozen"
    return _say(arguments, arguments.hand, {**chosen(arguments), "why": arguments.why}, done)


def _say(arguments: argparse.Namespace, hand: str, body: dict[str, Any], done: str) -> int:
    answer = Client(arguments.server, arguments.ca).post(f"/v1/devices/{hand}", body)
    if arguments.json:
        print(as_json(answer))
        return 0
    changed = [row["device"] for row in answer["changed"]]
    if changed:
        print(f"{', '.join(changed[:10])}{f' and {len(changed) - 10} more' if len(changed) > 10 else ''}: {done}")
    if answer["unchanged"]:
        print(f"{len(answer['unchanged'])} were so already")
    return 0


def _decommission(arguments: argparse.Namespace) -> int:
    path = f"/v1/devices/{part(arguments.device)}/decommission"
    body = {"kept": "forget" if arguments.forget else "archive", "why": arguments.why}
    answer = Client(arguments.server, arguments.ca).post(path, body)
    if arguments.json:
        print(as_json(answer))
    else:
        marks = {True: "done", False: "FAILED", None: ""}
        print(table(("step", "", ""), [(row["name"], marks[row["done"]], row["words"]) for row in answer["steps"]]))
    return 0 if answer["done"] else 1


def _readmit(arguments: argparse.Namespace) -> int:
    path = f"/v1/devices/{part(arguments.device)}/readmit"
    row = Client(arguments.server, arguments.ca).post(path, {"why": arguments.why})
    print(as_json(row) if arguments.json else f"{row['device']} may come back: it enrols anew, or is assigned by hand")
    return 0


def _gone(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    rows = every(client, "/v1/decommissioned")
    if arguments.json:
        print(as_json(rows))
        return 0
    if not rows:
        print("No device was decommissioned.")
        return 0
    now_s = client.get("/healthz")["now_s"]
    lines = [
        (row["device"], row["region"], row["by"], ago(now_s, row["at_s"]), row["kept"],
         ago(now_s, row["spoke_s"]) if row["spoke_s"] else None, row["why"])
        for row in rows
    ]  # fmt: skip
    print(table(("device", "region", "by", "since", "what it said", "spoke again", "why"), lines))
    return 0
