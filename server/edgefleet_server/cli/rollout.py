"""`edgefleet rollout plan|start|list|show|watch|compare|pause|resume|approve|next|abort|roll-back|go-back`."""

import argparse
from pathlib import Path
from typing import Any

from ..client.api import part
from ..errors import BadRequest
from ..rollouts.words import devices_in_words
from . import grouped, learnt, parser, rollout_order, watch
from .client import Client
from .output import ago, as_json, clean, table, warn_unsent
from .rollout_text import plan_text, stage_text

RESULTS = {"too little": "too little evidence"}


def main(argv: list[str]) -> int:
    """Run `edgefleet rollout …`; return its exit code."""
    top = parser.new("rollout", "Plan, start and watch rollouts by region.")
    verbs = top.add_subparsers(metavar="VERB")
    for name, verb, text in (
        ("plan", _plan, "show which device would take which variant, and why, without starting anything"),
        ("start", _start, "start a rollout, or say why it is refused"),
    ):
        one = verbs.add_parser(name, help=text, description=text)
        rollout_order.add_options(one)
        if name == "start":
            one.add_argument(
                "--plan", default=None, metavar="DIGEST", help="refuse it unless it does what this plan said"
            )
        else:
            one.add_argument("--devices", action="store_true", help="each device's own table, as far as they are named")
        parser.remote(one)
        one.set_defaults(verb=verb)
    one = verbs.add_parser("list", help="the rollout of each region and model")
    one.add_argument("--past", action="store_true", help="earlier ones too")
    parser.remote(one)
    one.set_defaults(verb=_list)
    one = verbs.add_parser("show", help="one region's rollouts: stages, gate, every device, every move")
    one.add_argument("region")
    parser.remote(one)
    one.set_defaults(verb=_show)
    watch.add(verbs)
    one = verbs.add_parser("compare", help="the model against the one before, on the same devices")
    one.add_argument("region")
    one.add_argument("--model", help="where a region has rollouts of several")
    parser.remote(one)
    one.set_defaults(verb=_compare)
    one = verbs.add_parser("measured", help="what classes of devices measured of each variant")
    one.add_argument("--release", help="of this one only")
    one.add_argument("--out", type=Path, metavar="FILE", help="write it, with the wishes, as JSON for the search")
    parser.remote(one)
    one.set_defaults(verb=learnt.measured)
    one = verbs.add_parser("wishes", help="variants that are missing: classes of devices that no variant fits")
    parser.remote(one)
    one.set_defaults(verb=learnt.wishes)
    for name, text in (
        ("pause", "hold the next stage back"),
        ("resume", "let a paused rollout go on"),
        ("approve", "say yes to a stage that waits for a person"),
        ("next", "open the next stage whatever its gate waits for"),
        ("abort", "end a rollout that is not complete: its devices go back"),
        ("roll-back", "take a release back whose rollout is complete"),
        ("go-back", "take a release back by hand, whichever of the two"),
    ):
        one = verbs.add_parser(name, help=text, description=text)
        one.add_argument("region")
        one.add_argument("--model", help="where a region has rollouts of several")
        one.add_argument("--why", default="", help="kept with the move")
        parser.remote(one)
        one.set_defaults(verb=_by_hand, hand=name)
    return parser.run(top, argv)


def _body(client: Client, arguments: argparse.Namespace) -> dict[str, Any]:
    body = rollout_order.body(arguments)
    return body if arguments.group is None else grouped.narrowed(client, arguments.group, body)


def _plan(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    answer = client.post("/api/v1/rollouts/plan", _body(client, arguments))
    if arguments.json:
        print(as_json(answer))
    else:
        print("\n\n".join(plan_text(region, devices=arguments.devices) for region in answer["regions"]))
    refused = any(region["breaks"] or (region["refused"] and not arguments.force) for region in answer["regions"])
    if not arguments.json and not refused:
        print(f"To start just this: edgefleet rollout start {arguments.release} … --plan {answer['digest']}")
    return 5 if refused else 0


def _start(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    if arguments.plan == "":  # of a script whose variable is not set: it must not start what nobody planned
        raise BadRequest("--plan is empty: give the digest that edgefleet rollout plan printed, or leave --plan out")
    answer = client.post("/api/v1/rollouts", _body(client, arguments) | {"plan_digest": arguments.plan or ""})
    if arguments.json:
        print(as_json(answer))
    else:
        for region in answer["regions"]:
            print(f"{region['release']} started in {region['region']} for {devices_in_words(region['matched'])}")
            if region["refused"]:
                print(f"  by force, although {clean(region['refused'])}")
            for note in region["notes"]:
                print(f"  {clean(note)}")
    warn_unsent(answer)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    rows = Client(arguments.server, arguments.ca).rows("/api/v1/rollouts", past=arguments.past)
    rows.sort(key=lambda row: (row["region"], row["model"], -row["id"]))
    if arguments.json:
        print(as_json(rows))
    elif not rows:
        print("No rollout was started yet. See what one would do: edgefleet rollout plan MODEL/NUMBER")
    else:
        print(
            table(
                ("region", "release", "status", "stage", "proven", "failed", "under way", "apart", "why"),
                [
                    (
                        row["region"],
                        row["release"],
                        row["status"],
                        f"{row['stage'] + 1}/{len(row['stages'])} ({row['stages'][row['stage']]['percent']:.4g} %)",
                        row["counts"]["proven"],
                        row["counts"]["failed"],
                        row["counts"]["under_way"],
                        row["counts"]["apart"],
                        row["why"],
                    )
                    for row in rows
                ],
            )
        )
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    rows = client.get(f"/api/v1/rollouts/{part(arguments.region)}/comparison", model=arguments.model)["items"]
    if arguments.json:
        print(as_json(rows))
        return 0
    if not rows:
        print(f"No rollout was started in {arguments.region} yet.")
    for row in rows:
        asked = "" if row["asked"] else "; its gate does not ask, and nothing follows from it"
        print(f"{row['release']} in {row['region']}: {RESULTS.get(row['result'], row['result'])}{asked}")
        print(f"  {clean(row['why'])}")
        cells = [
            (
                one["metric"],
                one["hardware_class"] or "all",
                RESULTS.get(one["result"], one["result"]),
                one["devices"],
                one["figure"],
            )
            for one in row["findings"]
        ]
        if cells:
            print()
            print(table(("what", "class", "is", "devices", "figures"), cells))
        if row["later"] is not None:
            print(
                f"  by what was served later: {RESULTS.get(row['later']['result'], row['later']['result'])}: {clean(row['later']['why'])}"
            )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    _print(client, client.get(f"/api/v1/rollouts/{part(arguments.region)}")["items"], arguments)
    return 0


def _by_hand(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    path = f"/api/v1/rollouts/{part(arguments.region)}/{arguments.hand}"
    _print(client, client.post(path, {"why": arguments.why}, model=arguments.model)["items"], arguments)
    return 0


def _print(client: Client, rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(as_json(rows))
        return
    if not rows:
        print(f"No rollout was started in {arguments.region} yet.")
        return
    now_s = client.get("/healthz")["now_s"]
    for row in rows:
        over = f" over {row['previous']}" if row["previous"] else ""
        print(f"{row['release']}{over} in {row['region']}: {row['status']}")
        print(f"  {clean(row['why'])}")
        for place, stage in enumerate(row["stages"]):
            print(f"  stage {place + 1}: {stage_text(stage)}")
        print()
        cells = [(one["device"], one["standing"], one["why"]) for one in row["evidence"]]
        print(table(("device", "is", "why"), cells))
        print()
        moves = [(ago(now_s, move["at_s"]), move["kind"], move["stage"] + 1, move["why"]) for move in row["moves"]]
        print(table(("when", "move", "stage", "why"), moves))
        print()
