"""`edgefleet rollout plan|start|list|show|watch|pause|resume|go-back`."""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tomllib

from ..errors import BadRequest, NotFound
from ..rollouts.plan import devices_in_words
from . import parser, watch
from .client import Client
from .output import ago, as_json, clean, megabytes, table, warn_unsent


def main(argv: list[str]) -> int:
    """Run `edgefleet rollout …`; return its exit code."""
    top = parser.new("rollout", "Plan, start and watch rollouts by region.")
    verbs = top.add_subparsers(metavar="VERB")
    for name, verb, text in (
        ("plan", _plan, "show which device would take which variant, and why, without starting anything"),
        ("start", _start, "start a rollout, or say why it is refused"),
    ):
        one = verbs.add_parser(name, help=text, description=text)
        one.add_argument("release", help="as in fashion/3")
        one.add_argument("--region", action="append", default=[], help="may be repeated; without it, every region")
        one.add_argument("--stages", default="100", metavar="P,P,…", help="percents, as in 10,50,100 (default: 100)")
        one.add_argument(
            "--max-failed",
            type=parser.number(0, 100),
            default=0.0,
            metavar="PERCENT",
            help="more sends it back (default: 0)",
        )
        one.add_argument(
            "--min-proven",
            type=parser.number(0, 100),
            default=100.0,
            metavar="PERCENT",
            help="for the next stage (default: 100)",
        )
        one.add_argument(
            "--probation",
            type=parser.number(0, 30 * 86400),
            default=600.0,
            metavar="SECONDS",
            help="time that a model is watched",
        )
        one.add_argument("--min-requests", type=int, default=20, metavar="N", help="with fewer, latency is not judged")
        one.add_argument(
            "--deadline",
            type=parser.number(1, 365 * 86400),
            default=86400.0,
            metavar="SECONDS",
            help="later counts as failed",
        )
        one.add_argument("--tag", action="append", default=[], help="only devices with this tag; may be repeated")
        one.add_argument("--hardware", action="append", default=[], help="only this hardware class; may be repeated")
        one.add_argument("--policies", type=Path, metavar="FILE", help="TOML with [REGION] tables of policies")
        one.add_argument(
            "--accept-interface-change",
            action="store_true",
            help="the release may change labels, inputs or outputs: the applications there know of it",
        )
        one.add_argument("--force", action="store_true", help="also when no device matches, or it runs there already")
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
    for name, text in (
        ("pause", "hold the next stage back"),
        ("resume", "let a paused rollout go on"),
        ("go-back", "take a release back by hand"),
    ):
        one = verbs.add_parser(name, help=text)
        one.add_argument("region")
        one.add_argument("--model", help="where a region has rollouts of several")
        one.add_argument("--why", default="", help="kept with the move")
        parser.remote(one)
        one.set_defaults(verb=_by_hand, hand=name)
    return parser.run(top, argv)


def body(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `plan` and `start` send; raise BadRequest for stages that are no numbers or a file that is no TOML."""
    try:
        stages = [float(part) for part in arguments.stages.split(",")]
    except ValueError:
        raise BadRequest(f"--stages {arguments.stages!r}: write percents with commas, as in 10,50,100") from None
    policies: dict[str, Any] = {}
    if arguments.policies is not None:
        try:
            policies = tomllib.loads(arguments.policies.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFound(f"{arguments.policies} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"{arguments.policies} is not TOML: {error}") from error
    return {
        "release": arguments.release,
        "regions": arguments.region,
        "stages": stages,
        "gate": {"max_failed_percent": arguments.max_failed, "min_proven_percent": arguments.min_proven},
        "probation": {"seconds": arguments.probation, "min_requests": arguments.min_requests},
        "audience": {"tags": arguments.tag, "hardware": arguments.hardware},
        "policies": policies,
        "deadline_s": arguments.deadline,
        "accept_interface_change": arguments.accept_interface_change,
        "force": arguments.force,
    }


def plan_text(region: dict[str, Any]) -> str:
    """Return a region's plan as people read it: each device's table, who is left out, and the sum."""
    stages = ", ".join(f"{percent:g} %" for percent in region["stages"])
    lines = [f"{region['region']}: {region['release']} in stages of {stages}", ""]
    for row in region["devices"]:
        lines += [f"{row['device']}, from stage {row['stage'] + 1}", row["text"]]
    for row in region["left_out"]:
        lines.append(f"left out: {clean(row['device'])}: {clean(row['why'])}")
    lines.append(
        f"{devices_in_words(region['matched'])} would run it; the broker would keep {megabytes(region['wire_bytes'])} of chunks"
    )
    if region["breaks"]:
        lines.append(f"It would be refused: {clean(region['breaks'])}. Accept it: --accept-interface-change")
    elif region["interface_changes"]:
        lines.append(f"It changes the interface, as accepted: {clean('; '.join(region['interface_changes']))}")
    if region["refused"]:
        lines.append(f"It would be refused: {clean(region['refused'])}")
    return "\n".join(lines)


def _plan(arguments: argparse.Namespace) -> int:
    answer = Client(arguments.server, arguments.ca).post("/api/v1/rollouts/plan", body(arguments))
    if arguments.json:
        print(as_json(answer))
    else:
        print("\n\n".join(plan_text(region) for region in answer["regions"]))
    refused = any(region["breaks"] or (region["refused"] and not arguments.force) for region in answer["regions"])
    return 5 if refused else 0


def _start(arguments: argparse.Namespace) -> int:
    answer = Client(arguments.server, arguments.ca).post("/api/v1/rollouts", body(arguments))
    if arguments.json:
        print(as_json(answer))
    else:
        for region in answer["regions"]:
            print(f"{region['release']} started in {region['region']} for {devices_in_words(region['matched'])}")
            if region["refused"]:
                print(f"  by force, although {clean(region['refused'])}")
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
                        f"{row['stage'] + 1}/{len(row['stages'])} ({row['stages'][row['stage']]['percent']:g} %)",
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


def _show(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    _print(client, client.get(f"/api/v1/rollouts/{quote(arguments.region, safe='')}")["items"], arguments)
    return 0


def _by_hand(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    path = f"/api/v1/rollouts/{quote(arguments.region, safe='')}/{arguments.hand}"
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
            print(
                f"  stage {place + 1}: {stage['percent']:g} %, {stage['state']}; gate: at most "
                f"{stage['max_failed_percent']:g} % failed, at least {stage['min_proven_percent']:g} % proven"
            )
        print()
        cells = [(one["device"], one["standing"], one["why"]) for one in row["evidence"]]
        print(table(("device", "is", "why"), cells))
        print()
        moves = [(ago(now_s, move["at_s"]), move["kind"], move["stage"] + 1, move["why"]) for move in row["moves"]]
        print(table(("when", "move", "stage", "why"), moves))
        print()
