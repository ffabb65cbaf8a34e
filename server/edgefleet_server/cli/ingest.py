"""`edgefleet server ingest`: a further process that takes telemetry."""

import argparse
import logging
import signal
import threading
from types import FrameType

from ..config import load
from . import parser

LOG = logging.getLogger(__name__)


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to `edgefleet server`."""
    one = verbs.add_parser(
        "ingest",
        help="take telemetry beside the server, until SIGTERM or Ctrl-C (PostgreSQL only)",
        description="Take telemetry beside the server that runs over the same PostgreSQL database, until SIGTERM or Ctrl-C. At its "
        "end it takes what is on its way to it, and leaves its share to the others. Everything else stays with the server.",
        epilog=parser.EXIT_CODES,
    )
    parser.add_config(one)
    one.add_argument(
        "--number", type=parser.process_number, default=2, metavar="N",
        help="which one it is, 2 to 99 (default: 2); each runs once, with the certificate hub-N",
    )  # fmt: skip
    one.add_argument("--log-format", choices=("text", "json"), default="text", help="json: one object a line")
    one.add_argument("--verbose", action="store_true", help="say more of what it does")
    one.set_defaults(verb=_ingest)


def _ingest(arguments: argparse.Namespace) -> int:
    from edgefleet_trust.repository import Repository

    from ..garbage import settle
    from ..ingest.helper import Helper, name_of
    from ..logs import set_up

    set_up(arguments.log_format, verbose=arguments.verbose)
    config = load(arguments.config)
    fleet = Repository(config.repository).fleet
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with Helper(config, fleet, arguments.number) as helper:
        settle()
        LOG.info("fleet %s: %s takes telemetry", fleet, name_of(arguments.number))
        helper.wait(ended)
    LOG.info("left: %s", helper.counters.snapshot())
    return 0
