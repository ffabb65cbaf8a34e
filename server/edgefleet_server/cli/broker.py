"""`edgefleet server broker config`."""

import argparse
from pathlib import Path

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from ..config import ServerConfig, load
from ..errors import BadConfig
from . import parser
from .output import as_json

PORT = 8883


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the noun `broker` to the verbs of `edgefleet server`."""
    noun = verbs.add_parser("broker", help="the configuration of the fleet's broker", epilog=parser.EXIT_CODES)
    inner = noun.add_subparsers(metavar="VERB", required=True)
    one = inner.add_parser(
        "config",
        help="write Mosquitto's configuration for a fleet with identities",
        description="Write mosquitto.conf, the access list, the plugin's file and copies of the certificates that the broker "
        "reads into a folder, and try whether Mosquitto starts on it. It can be run again at any time: after an update, or after "
        "the server's certificate was renewed.",
        epilog=parser.EXIT_CODES,
    )
    parser.add_config(one)
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="as /etc/mosquitto/edgefleet")
    one.add_argument("--port", type=_port, default=PORT, help=f"default: {PORT}")
    one.add_argument("--listen", metavar="ADDR", help="one address instead of all")
    one.add_argument(
        "--identity", type=Path, metavar="DIR", help="the authority's folder (default: the one that holds broker.ca)"
    )
    one.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        default=Path("/var/lib/mosquitto"),
        help="where the broker keeps its memory",
    )
    one.add_argument(
        "--user", default="mosquitto", help="whom Mosquitto becomes when root starts it (default: mosquitto)"
    )
    one.add_argument(
        "--plugin", type=Path, metavar="FILE", help="its dynamic-security plugin, where it is nowhere usual"
    )
    one.add_argument(
        "--bridge",
        type=_bridge,
        action="append",
        default=[],
        metavar="NAME",
        help="a region's broker, hub-bridge-…; may be repeated",
    )
    one.add_argument("--json", action="store_true", help="print what was written as JSON")
    one.set_defaults(verb=_config)


def _config(arguments: argparse.Namespace) -> int:
    from edgefleet_protocol.topics import Topics
    from edgefleet_trust.repository import Repository

    from ..broker.attempt import attempt
    from ..broker.helpers import helpers_in
    from ..broker.mosquitto import Settings
    from ..broker.place import copy_identity, find_plugin, hand_over, write_configuration

    config = load(arguments.config)
    topics = Topics(Repository(config.repository).fleet)
    out = arguments.out.resolve()
    identity = arguments.identity or _identity(config)
    settings = Settings(
        folder=out,
        pki=out,
        store=arguments.store.resolve(),
        plugin=arguments.plugin or find_plugin(),
        port=arguments.port,
        listen=arguments.listen,
        user=arguments.user,
        bridges=tuple(arguments.bridge),
        helpers=helpers_in(identity),
        retained_budget_bytes=config.broker.retained_budget_bytes,
    )
    copies = copy_identity(identity, out)
    written = (*write_configuration(settings, topics), *copies)
    untried = attempt(settings, topics)
    by_hand = hand_over(out, arguments.user)
    if arguments.json:
        print(as_json({"files": [str(path) for path in written], "tried": untried is None, "by_hand": by_hand}))
        return 0
    for path in written:
        print(path)
    print(untried or "Mosquitto starts on it.")
    if by_hand:
        print(f"Its user must be able to read the folder and to write its own file there: {by_hand}")
    print(f"Start it with: mosquitto -c {written[0]}")
    print(
        f"In {arguments.config}, below [broker]: port = {settings.port}, crl = '{out}/crl.pem', and reload or pid_file."
    )
    return 0


def _identity(config: ServerConfig) -> Path:
    if config.broker.ca is None:
        raise BadConfig(
            "where the fleet's authority lies is not said: write broker.ca into server.toml, or give --identity"
        )
    return config.broker.ca.parent


def _bridge(text: str) -> str:
    try:
        check_label("bridge", text)
    except BadName as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    # The server's and its helpers' names begin so and no device's does: a device must not get a bridge's rights by its name.
    if not text.startswith("hub-bridge-"):
        raise argparse.ArgumentTypeError(f"{text!r} is no bridge's name: call it hub-bridge-{text}")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")
    return int(text)
