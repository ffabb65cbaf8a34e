"""`edgefleet server export`: telemetry and events as a file for other programs."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from ..config import ServerConfig, load
from ..errors import BadRequest, NotFound, Refused
from . import parser
from .output import as_json
from .token import ACTOR

DAY_S = 86400.0
RESOLUTIONS = {"minute": 0, "hour": 1, "day": 2}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to `edgefleet server`."""
    from ..export.columns import What
    from ..export.writers import Format

    words = "write telemetry or events to a file, while the server runs or not"
    one = verbs.add_parser(
        "export",
        help=words,
        description="Write telemetry or events to a file, while the server runs or not. Columns have OpenTelemetry's names.",
        epilog=f"times: 2026-11-26, 2026-11-26T08:00 (UTC without an offset), or seconds since 1970. {parser.EXIT_CODES}",
    )
    parser.add_config(one)
    one.add_argument(
        "--what",
        required=True,
        choices=get_args(What),
        help="windows: of each device; rollups: latency by region and variant; boards: heat, battery, throttling by region; "
        "energy: by region and sensor; events",
    )
    one.add_argument("--from", dest="since", metavar="TIME", help="from then on (default: a day before --to)")
    one.add_argument("--to", metavar="TIME", help="up to then (default: now)")
    one.add_argument("--region", action="append", default=[], help="of this region only; may be repeated")
    one.add_argument("--resolution", choices=tuple(RESOLUTIONS), default="hour", help="of roll-ups (default: hour)")
    one.add_argument(
        "--by-class", action="store_true", help="roll-ups by hardware class too; then without numbers of devices"
    )
    one.add_argument("--format", choices=get_args(Format), default="csv", help="parquet needs pyarrow (default: csv)")
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="not written over")
    one.add_argument("--json", action="store_true", help="print JSON")
    one.set_defaults(verb=_export)


def _export(arguments: argparse.Namespace) -> int:
    from ..export.columns import COLUMNS
    from ..export.residency import allowed
    from ..export.writers import write, writer
    from ..store import audit, export_rows
    from ..store.beside import beside
    from ..store.reading import reading

    config, now = load(arguments.config), time.time()
    _check_regions(config, arguments.region)
    may = allowed(arguments.region, config.region_keeps)
    to_s = now if arguments.to is None else moment(arguments.to)
    from_s = to_s - DAY_S if arguments.since is None else moment(arguments.since)
    if from_s >= to_s:
        raise BadRequest(f"--from {arguments.since} is not before --to {arguments.to or 'now'}: nothing lies between")
    out: Path = arguments.out
    if not out.parent.is_dir():
        raise NotFound(f"{out.parent} is no folder, so no file can be written there: make it first")
    if out.exists():
        raise Refused(f"{out} is there already: name another file")
    asked = export_rows.Asked(
        from_s, to_s, may.regions, may.never, RESOLUTIONS[arguments.resolution], arguments.by_class
    )
    part = out.with_name(f".{out.name}.part")
    part.touch(0o600)  # it says where devices are and what they do
    try:
        file = writer(arguments.format, part, COLUMNS[arguments.what])
        try:
            with reading(config.place) as connection:
                count = write(file, export_rows.OF[arguments.what](connection, asked))
        finally:
            file.close()
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    with beside(config.place) as connection:
        said = f"{count} rows of {arguments.what}, {_iso(from_s)} to {_iso(to_s)}, as {arguments.format}"
        where = ", ".join(may.regions) if may.regions else "every region"
        audit.add(connection, audit.AuditRow(now, ACTOR, "telemetry.export", None, where, said))
    size = out.stat().st_size
    left_out = () if may.regions else may.never
    if arguments.json:
        print(
            as_json(
                {"file": str(out), "rows": count, "bytes": size, "from_s": from_s, "to_s": to_s, "left_out": left_out}
            )
        )
        return 0
    print(f"{out}: {count} rows, {size / 1e6:.1f} MB, {_iso(from_s)} to {_iso(to_s)}")
    if left_out:
        print(f"Without {', '.join(left_out)}, whose telemetry must stay on this server.")
    return 0


def moment(text: str) -> float:
    """Return the moment that `text` says, in seconds since 1970; raise BadRequest for none."""
    try:
        if text.replace(".", "", 1).isdigit() and len(text) > 8:
            return float(text)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(f"{text!r} is no time: write 2026-11-26, or 2026-11-26T08:00, or seconds since 1970") from None


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_regions(config: ServerConfig, wanted: list[str]) -> None:
    if not wanted:
        return
    from edgefleet_trust.repository import Repository

    known = Repository(config.repository).regions()
    for region in wanted:
        if region not in known:
            raise NotFound(f"there is no region {region}. There are: {', '.join(known)}")
