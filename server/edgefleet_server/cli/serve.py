"""`edgefleet server run`, and the nouns below `edgefleet server`."""

import argparse

from ..config import load
from . import api, broker, enrol_token, export, identity, ingest, operate, parser, token


def main(argv: list[str]) -> int:
    """Run `edgefleet server …`; return its exit code."""
    top = parser.new("server", "The fleet's server: broker link, rollouts, telemetry, API and dashboard.")
    verbs = top.add_subparsers(metavar="VERB")
    run = verbs.add_parser("run", help="run until SIGTERM or Ctrl-C", epilog=parser.EXIT_CODES)
    parser.add_config(run)
    run.add_argument("--log-format", choices=("text", "json"), default="text", help="json: one object a line")
    run.add_argument("--verbose", action="store_true", help="say more of what it does")
    run.set_defaults(verb=_run)
    ingest.add(verbs)
    api.add(verbs)
    operate.add(verbs)
    export.add(verbs)
    token.add(verbs)
    identity.add(verbs)
    enrol_token.add(verbs)
    broker.add(verbs)
    return parser.run(top, argv)


def _run(arguments: argparse.Namespace) -> int:
    from ..app import Server
    from ..garbage import settle
    from ..logs import set_up
    from ..signer import online_passphrase

    set_up(arguments.log_format, verbose=arguments.verbose)
    config = load(arguments.config)
    server = Server(config, online_passphrase())
    settle()
    server.serve()
    return 0
