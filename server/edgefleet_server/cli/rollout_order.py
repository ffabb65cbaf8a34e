"""What `rollout plan` and `rollout start` take, and what becomes of it."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import BadRequest
from . import parser
from .toml_in import read_toml

MARGINS = {
    "latency": "latency_percent",
    "errors": "error_points",
    "memory": "memory_percent",
    "energy": "energy_percent",
    "confidence": "confidence_psi",
    "agreement": "agreement_percent",
    "agreement-live": "agreement_live_percent",
}
"""What may be compared, and its field."""
STAGE_KEYS = ("percent", "count", "tags", "hardware", "devices", "soak", "approval")


def add_options(one: argparse.ArgumentParser) -> None:
    """Add the options of a rollout."""
    one.add_argument("release", help="as in fashion/3")
    one.add_argument("--region", action="append", default=[], help="may be repeated; without it, every region")
    one.add_argument("--stages", default=None, metavar="P,P,…", help="percents, as in 10,50,100 (default: 100)")
    one.add_argument(
        "--stage",
        action="append",
        default=[],
        metavar="'KEY=VALUE …'",
        help="one stage in the long form, instead of --stages; may be repeated: 'count=5 hardware=pi4', 'devices=a,b', "
        "'percent=50 tags=lab soak=3600 approval'",
    )
    one.add_argument("--approve-each", action="store_true", help="every stage after the first waits for a person's yes")
    one.add_argument(
        "--soak",
        type=parser.number(0, 30 * 86400),
        default=0.0,
        metavar="SECONDS",
        help="each stage is judged on so long once its gate is open, before the next one (default: 0)",
    )
    _gate_options(one)
    _model_options(one)
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
    one.add_argument(
        "--group", metavar="QUERY", help="only these: a query, as in 'tag=door class=pi4', or the name of a saved group"
    )
    one.add_argument("--tag", action="append", default=[], help="only devices with this tag; may be repeated")
    one.add_argument("--hardware", action="append", default=[], help="only this hardware class; may be repeated")
    one.add_argument("--policies", type=Path, metavar="FILE", help="TOML with [REGION] tables of policies")
    one.add_argument(
        "--late-joiners",
        choices=("join", "wait"),
        default="join",
        help="devices that come to the region meanwhile: take part, or take it once it is complete (default: join)",
    )
    one.add_argument("--max-under-way", type=int, metavar="N", help="devices that fetch at once (default: about 100)")
    one.add_argument(
        "--accept-interface-change",
        action="store_true",
        help="the release may change labels, inputs or outputs: the applications there know of it",
    )
    one.add_argument("--force", action="store_true", help="also when no device matches, or it runs there already")


def _gate_options(one: argparse.ArgumentParser) -> None:
    percent = parser.number(0, 100)
    one.add_argument(
        "--max-failed", type=percent, default=0.0, metavar="PERCENT", help="more sends it back (default: 0)"
    )
    one.add_argument(
        "--min-proven", type=percent, default=100.0, metavar="PERCENT", help="for the next stage (default: 100)"
    )
    one.add_argument("--max-failed-devices", type=int, metavar="N", help="more send it back, whatever share they are")
    one.add_argument("--min-proven-devices", type=int, default=0, metavar="N", help="for the next stage, at least")
    one.add_argument(
        "--min-ended", type=int, default=0, metavar="N", help="judge the share of failures once so many came to an end"
    )


def _model_options(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--not-worse",
        metavar="WHAT=MARGIN,…",
        help="compare the model with the one before on the same devices: latency, memory and energy in percent, errors in percent "
        "points, confidence as a PSI, agreement and agreement-live in percent. 'latency=5,errors=0.5', or just 'default'",
    )
    one.add_argument(
        "--alpha",
        type=parser.number(1e-6, 0.5),
        default=0.05,
        help="how often a good model may be stopped (default: 0.05)",
    )
    one.add_argument("--on-worse", choices=("go-back", "pause"), default="go-back", help="(default: go-back)")
    one.add_argument(
        "--too-little",
        choices=("pause", "go-on"),
        default="pause",
        help="with too little evidence after --verdict-within (default: pause)",
    )
    one.add_argument(
        "--verdict-within", type=parser.number(0, 30 * 86400), default=3600.0, metavar="SECONDS", help="(default: 3600)"
    )
    one.add_argument("--compare-devices", type=int, default=3, metavar="N", help="fewer are too little (default: 3)")
    one.add_argument(
        "--compare-requests", type=int, default=100, metavar="N", help="of each device, on each side (default: 100)"
    )
    one.add_argument(
        "--warm-up", type=parser.number(0, 86400), default=60.0, metavar="SECONDS", help="left out (default: 60)"
    )


def body(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `plan` and `start` send; raise BadRequest for what makes no sense, NotFound for a file that is not there."""
    return {
        "release": arguments.release,
        "regions": arguments.region,
        "stages": _stages(arguments),
        "gate": {
            "max_failed_percent": arguments.max_failed,
            "min_proven_percent": arguments.min_proven,
            "max_failed": arguments.max_failed_devices,
            "min_proven": arguments.min_proven_devices,
            "min_ended": arguments.min_ended,
            "not_worse": _not_worse(arguments),
        },
        "probation": {"seconds": arguments.probation, "min_requests": arguments.min_requests},
        "audience": {"tags": arguments.tag, "hardware": arguments.hardware},
        "policies": read_toml(arguments.policies) if arguments.policies else {},
        "soak_s": arguments.soak,
        "deadline_s": arguments.deadline,
        "accept_interface_change": arguments.accept_interface_change,
        "force": arguments.force,
        "late_joiners": arguments.late_joiners,
        "max_under_way": arguments.max_under_way,
    }


def _stages(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    if arguments.stage and arguments.stages is not None:
        raise BadRequest("--stages and --stage are two ways to say the same: use one of them")
    if arguments.stage:
        rows = [_stage(text) for text in arguments.stage]
    else:
        # Not `or`: an empty text (a variable of a script that is not set) must not mean everybody at once.
        text = "100" if arguments.stages is None else arguments.stages
        try:
            rows = [{"percent": float(part)} for part in text.split(",")]
        except ValueError:
            raise BadRequest(f"--stages {text!r}: write percents with commas, as in 10,50,100") from None
    if arguments.approve_each:
        rows = [row | ({"approval": True} if place else {}) for place, row in enumerate(rows)]
    return rows


def _stage(text: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for part in text.split():
        key, equals, value = part.partition("=")
        if key not in STAGE_KEYS or (not equals and key != "approval"):
            raise BadRequest(f"--stage {text!r}: {part} is not known. Known: {', '.join(STAGE_KEYS)}")
        if key in row or f"{key}_s" in row:
            raise BadRequest(f"--stage {text!r} says {key} twice: say it once, or write a --stage for each stage")
        try:
            if key == "approval":
                row[key] = True
            elif key == "soak":
                row["soak_s"] = float(value)
            elif key in ("percent", "count"):
                row[key] = float(value) if key == "percent" else int(value)
            else:
                row[key] = value.split(",")
        except ValueError:
            raise BadRequest(f"--stage {text!r}: {value} is no number") from None
    return row


def _not_worse(arguments: argparse.Namespace) -> dict[str, Any] | None:
    text = arguments.not_worse
    if text is None:
        return None
    found: dict[str, Any] = {
        "alpha": arguments.alpha,
        "on_worse": arguments.on_worse,
        "too_little": arguments.too_little,
        "wait_s": arguments.verdict_within,
        "min_devices": arguments.compare_devices,
        "min_requests": arguments.compare_requests,
        "warm_up_s": arguments.warm_up,
    }
    if text == "default":
        return found
    found |= dict.fromkeys(MARGINS.values())  # only what is named is looked at
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in MARGINS:
            raise BadRequest(f"--not-worse {text!r}: {key!r} is not known. Known: {', '.join(MARGINS)}")
        try:
            found[MARGINS[key]] = float(value)
        except ValueError:
            raise BadRequest(f"--not-worse {text!r}: write a number, as in {key}=5") from None
    return found
