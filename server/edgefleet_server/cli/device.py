"""`edgefleet device list|show|assign|forget|revoke`, and the queue of those that wait to be let in."""

import argparse
import sys
from typing import Any, Literal, get_args

from ..client.api import part
from . import approval, group, hands, order, parser
from .client import Client
from .output import ago, as_json, clean, megabytes, milliseconds, table, warn_unsent

Status = Literal["online", "offline", "failing", "quarantine", "silent"]


def main(argv: list[str]) -> int:
    """Run `edgefleet device …`; return its exit code."""
    top = parser.new("device", "The fleet's devices, and where they belong.")
    verbs = top.add_subparsers(metavar="VERB")
    one = verbs.add_parser("list", help="every device")
    one.add_argument("--region")
    one.add_argument("--tag")
    one.add_argument("--hardware", help="a hardware class")
    one.add_argument("--status", choices=get_args(Status))
    one.add_argument("--runs", help="a model, a release or a release with its variant, as in fashion/3/int8")
    one.add_argument("--text", help="a part of the name, the hardware class or what runs")
    parser.remote(one)
    one.set_defaults(verb=_list)
    one = verbs.add_parser("show", help="one device: what it is, runs, chose and why")
    one.add_argument("device")
    parser.remote(one)
    one.set_defaults(verb=_show)
    one = verbs.add_parser("assign", help="say where a device belongs: signed, and sent to it")
    one.add_argument("device")
    one.add_argument("--region", required=True)
    one.add_argument("--tag", action="append", default=[], help="may be repeated")
    parser.remote(one)
    one.set_defaults(verb=_assign)
    one = verbs.add_parser(
        "forget", help="remove a device that is gone, or never was: all that it said, and its topics"
    )
    one.add_argument("device")
    one.add_argument("--force", action="store_true", help="also one that was heard of in the last minutes")
    parser.remote(one)
    one.set_defaults(verb=_forget)
    order.add(verbs)
    group.add(verbs)
    hands.add(verbs)
    approval.add(verbs)
    one = verbs.add_parser(
        "revoke", help="cut a device off for good: its certificates are revoked and its connection is ended"
    )
    one.add_argument("device")
    parser.remote(one)
    one.set_defaults(verb=_revoke)
    return parser.run(top, argv)


def any_filter(arguments: argparse.Namespace) -> bool:
    """Return whether fewer than all devices are asked for."""
    words = (arguments.region, arguments.tag, arguments.hardware, arguments.status, arguments.runs, arguments.text)
    return any(word is not None for word in words)


def power(row: dict[str, Any]) -> str:
    """Return how a device is powered, in words."""
    if row["power_source"] is None:
        return "-"
    if row["power_source"] == "mains":
        return "mains"
    return f"{row['battery_percent']:.0f} %{' charging' if row['battery_charging'] else ''}"


def says(row: dict[str, Any], model: dict[str, Any] | None) -> str | None:
    """Return in the device's own words what keeps it from what is wanted, or None when nothing does."""
    words = ["in quarantine: two copies of it speak in turn"] if row["alarm"] else []
    words += [f"trust: {row['trust_problem']}"] if row["trust_problem"] else []
    if model and model["phase"] in ("waiting", "fetching", "failed") and model["why"]:
        words.append(model["why"])
    return "; ".join(words) or None


def _list(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    rows = client.rows(
        "/api/v1/devices",
        region=arguments.region,
        tag=arguments.tag,
        hardware=arguments.hardware,
        status=arguments.status,
        runs=arguments.runs,
        text=arguments.text,
    )
    if arguments.json:
        print(as_json(rows))
        return 0
    if not rows:
        print("No device is so." if any_filter(arguments) else "No device was heard of yet.")
        return 0
    now_s = client.get("/healthz")["now_s"]
    lines = []
    for row in rows:
        for model in row["models"] or [None]:
            lines.append(
                (
                    row["id"],
                    row["region"],
                    row["hardware_class"],
                    f"{model['release']} {model['variant']}" if model and model["release"] else None,
                    model["phase"] if model else None,
                    milliseconds(model["latency_p50_s"] if model else None),
                    milliseconds(model["latency_p95_s"] if model else None),
                    megabytes(model["memory_bytes"] if model else None),
                    power(row),
                    "online" if row["online"] else f"offline, seen {ago(now_s, row['last_seen_s'])}",
                    says(row, model),
                )
            )
    headings = ("device", "region", "hardware", "runs", "state", "p50", "p95", "memory", "power", "seen", "says")
    print(table(headings, lines))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    row = client.get(f"/api/v1/devices/{part(arguments.device)}")
    if arguments.json:
        print(as_json(row))
        return 0
    now_s = client.get("/healthz")["now_s"]
    facts: list[tuple[str, object]] = [
        ("region", row["region"]),
        ("tags", ", ".join(row["tags"])),
        ("seen", "online" if row["online"] else f"offline, seen {ago(now_s, row['last_seen_s'])}"),
        ("hardware", f"{row['hardware_class']} ({row['board']}, {row['arch']})"),
        ("agent", row["agent_version"]),
        ("power", power(row)),
        ("temperature", None if row["temperature_c"] is None else f"{row['temperature_c']:.1f} °C"),
        ("received", megabytes(row["bytes_received"])),
        ("wish", f"number {row['rollout_serial']}"),
    ]
    if row["trust_problem"]:
        facts.append(("trust", row["trust_problem"]))
    if row["freeze"]:
        facts.append(("frozen", f"by {row['freeze']}: nothing new begins there"))
    if row["frozen"]:
        facts.append(
            ("withheld", f"newer trust has been out for {row['trust_behind_s']:.0f} s, and it has not verified it")
        )
    if row["alarm"]:
        facts.append(("quarantine", row["alarm"]["why"]))
    facts += [(f"limit on {name}", how) for name, how in row["limits_held"].items()]
    print(clean(row["id"]))
    width = max(len(clean(name)) for name, _ in facts)
    for name, value in facts:
        print(f"  {clean(name):<{width}}  {clean(value)}")
    for model in row["models"]:
        runs = f"{model['release']} {model['variant']}" if model["release"] else "nothing"
        print(f"\n{clean(model['model'])}: runs {clean(runs)}, {model['phase']}: {clean(model['why'])}")
        if model["chosen"]:
            print(f"  chose {clean(model['chosen'])}: {clean(model['chosen_why'])}")
        print(f"  p50 {milliseconds(model['latency_p50_s'])}, p95 {milliseconds(model['latency_p95_s'])}")
        for failure in model["failures"]:
            what = f"{failure['release']} {failure['variant']}"
            print(f"  {clean(what)} failed in {failure['stage']}: {clean(failure['reason'])}")
    return 0


def _assign(arguments: argparse.Namespace) -> int:
    answer = Client(arguments.server, arguments.ca).put(
        f"/api/v1/devices/{part(arguments.device)}/assignment",
        {"region": arguments.region, "tags": arguments.tag},
    )
    if arguments.json:
        print(as_json(answer))
    else:
        print(f"{answer['device']} belongs to {answer['region']} from number {answer['number']} on")
    warn_unsent(answer)
    return 0


def _forget(arguments: argparse.Namespace) -> int:
    path = f"/api/v1/devices/{part(arguments.device)}"
    answer = Client(arguments.server, arguments.ca).delete(path, force=arguments.force)
    if arguments.json:
        print(as_json(answer))
    else:
        print(f"{answer['device']} is forgotten")
    if not answer["broker_connected"]:
        print("What the broker retains of it is cleared as soon as the broker is back.", file=sys.stderr)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    answer = Client(arguments.server, arguments.ca).post(f"/api/v1/devices/{part(arguments.device)}/revoke", {})
    if arguments.json:
        print(as_json(answer))
    else:
        marks = {True: "done", False: "FAILED", None: "not done"}
        print(table(("step", "", ""), [(row["name"], marks[row["done"]], row["words"]) for row in answer["steps"]]))
    if not answer["done"]:
        print(
            f"{arguments.device} is not cut off yet: mend what failed and give the command again; what is done stays done.",
            file=sys.stderr,
        )
        return 1
    return 0
