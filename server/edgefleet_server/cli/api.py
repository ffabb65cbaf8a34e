"""`edgefleet server api`: a further process that answers the API and the pages."""

import argparse

from ..config import listening, load
from ..errors import ServerError
from . import parser


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to `edgefleet server`."""
    one = verbs.add_parser(
        "api",
        help="answer the API and the pages beside the server, until SIGTERM or Ctrl-C (PostgreSQL only)",
        description="Answer the API and the pages beside the server that runs over the same PostgreSQL database, until SIGTERM or "
        "Ctrl-C. It needs server.toml, the repository's folder to read, and no passphrase. What is stored here, as a rollout that is "
        "started, the server carries out; what must be signed or sent at once, as a command to a device, is refused with the "
        "server's address.",
        epilog=parser.EXIT_CODES,
    )
    parser.add_config(one)
    one.add_argument(
        "--listen", type=address, metavar="HOST:PORT",
        help="where it answers (default: http.host and http.port of the file, as on a machine of its own); on others than "
        "loopback with TLS only, as the server",
    )  # fmt: skip
    one.add_argument("--log-format", choices=("text", "json"), default="text", help="json: one object a line")
    one.add_argument("--verbose", action="store_true", help="say more of what it does")
    one.set_defaults(verb=_api)


def address(text: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:8301` or `[::1]:8301`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write HOST:PORT, as in 127.0.0.1:8301")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _api(arguments: argparse.Namespace) -> int:
    from ..garbage import settle
    from ..logs import set_up
    from ..replica.app import Replica

    set_up(arguments.log_format, verbose=arguments.verbose)
    config = load(arguments.config)
    if arguments.listen is not None:
        config = listening(config, *arguments.listen)
    replica = Replica(config)
    settle()
    replica.serve()
    if replica.why_ended is not None:
        raise ServerError(replica.why_ended)
    return 0
