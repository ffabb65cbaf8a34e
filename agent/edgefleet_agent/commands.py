"""`edgefleet agent run|status|explain|check|diag|pin|hold|release|enrol|seal`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState

from . import body_commands, enrol_commands
from . import config as configuration
from .errors import AgentError, AlreadyRuns, BadConfig, BadOption
from .log import LEVELS
from .owning import OWNERS_VERBS, NotAllowed, NotFound, add_verbs

DONE, FAILED, USAGE, NOT_FOUND, NOT_ALLOWED, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
EXIT_CODES = f"""exit codes:
  {DONE:>3}  done; for `run`: ended in good order at SIGTERM or SIGINT
  {FAILED:>3}  failed: the message says what the system refused
  {USAGE:>3}  a wrong option, or a configuration that says something the agent cannot do
  {NOT_FOUND:>3}  no such model or release on this device
  {NOT_ALLOWED:>3}  not allowed: the state folder is not yours to write to
  {REFUSED:>3}  refused: another agent holds the state folder
  {INTERRUPTED:>3}  interrupted"""


def main(argv: list[str]) -> int:
    """Run the command in `argv`; return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        complete = arguments.do in (_status, _explain)
        config = configuration.load(arguments.config, complete=complete) if hasattr(arguments, "config") else None
        code: int = arguments.do(config, arguments)
        return code
    except (BadConfig, BadOption) as error:
        print(f"edgefleet agent: {error}", file=sys.stderr)
        return USAGE
    except NotFound as error:
        print(f"edgefleet agent: {error}", file=sys.stderr)
        return NOT_FOUND
    except NotAllowed as error:
        print(f"edgefleet agent: {error}", file=sys.stderr)
        return NOT_ALLOWED
    except AlreadyRuns as error:
        print(f"edgefleet agent: {error}", file=sys.stderr)
        return REFUSED
    except PermissionError as error:
        if arguments.verb not in OWNERS_VERBS:
            print(f"edgefleet agent: {error}", file=sys.stderr)
            return FAILED
        print(f"edgefleet agent: only the owner decides about this device's models: {error}", file=sys.stderr)
        return NOT_ALLOWED
    except (AgentError, OSError) as error:
        print(f"edgefleet agent: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgefleet agent",
        description="What runs on a device: it serves the device's models and follows what its fleet signed.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(
        verb: str, do: Callable[[configuration.Config, argparse.Namespace], int], words: str
    ) -> argparse.ArgumentParser:
        one = verbs.add_parser(
            verb,
            help=words,
            description=words[0].upper() + words[1:] + ".",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument(
            "--config",
            type=Path,
            default=configuration.PLACE,
            metavar="FILE",
            help=f"the device's agent.toml; relative paths in it are relative to it (default: {configuration.PLACE})",
        )
        if verb == "run":
            _add_log_options(one)
        else:
            one.add_argument(
                "--json", action="store_true", help="one JSON object on standard output instead of words for people"
            )
        one.set_defaults(do=do)
        return one

    for verb, do, words in (
        ("run", _run, "run the agent until SIGTERM: serve what is active, then follow the region's wish"),
        ("status", _status, "say what runs here, what is waited for and how it stands with the broker; works offline"),
        ("explain", _explain, "say for each variant of the wished releases why it is taken or not; works offline"),
    ):
        add(verb, do, words)
    add_verbs(add)
    body_commands.add_verbs(add)
    enrol_commands.add(verbs)
    _add_dev(verbs)
    return parser


def _add_dev(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    one = verbs.add_parser(
        "dev",
        help="serve a folder's models for an application's developer: no broker, no keys, nothing verified",
        description="Serve a package that `edgefleet compress` made, or each ONNX file of a folder (with a sidecar "
        "<stem>.json that holds an interface, else with what the file says), until Ctrl-C. Nothing is verified or stored.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("folder", type=Path, help="the folder, or one .onnx file")
    one.add_argument(
        "--run", type=Path, metavar="DIR", help="where the sockets go (a folder that is removed at the end)"
    )
    one.add_argument("--variant", metavar="NAME", help="of a package (its first)")
    one.add_argument("--port", type=port_number, default=0, help="on 127.0.0.1, for all models (any free one)")
    one.add_argument("--threads", type=thread_count, default=1, help="of the runtime, for one inference (1)")
    one.add_argument("--shared-memory", action="store_true", help="allow regions of /dev/shm")
    one.set_defaults(do=_dev)


def port_number(text: str) -> int:
    """0 for any."""
    if not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: a number up to 65535")
    return int(text)


def thread_count(text: str) -> int:
    """1 or more."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} threads compute nothing: 1 or more")
    return int(text)


def _dev(_config: None, arguments: argparse.Namespace) -> int:
    from .serve.dev import Options, serve
    from .serve.errors import ServeError

    try:
        return serve(
            Options(
                folder=arguments.folder,
                run=arguments.run,
                variant=arguments.variant,
                port=arguments.port,
                threads=arguments.threads,
                shared_memory=arguments.shared_memory,
            )
        )
    except ServeError as error:
        print(f"edgefleet agent dev: {error}", file=sys.stderr)
        return FAILED


def _add_log_options(run: argparse.ArgumentParser) -> None:
    how_much = run.add_mutually_exclusive_group()
    how_much.add_argument(
        "--log-level",
        choices=LEVELS,
        default="info",
        help="the least that gets a line on standard error (default: info: events, connections, troubles)",
    )
    how_much.add_argument(
        "--quiet", action="store_const", const="warning", dest="log_level", help="troubles only: --log-level warning"
    )


def _run(config: configuration.Config, arguments: argparse.Namespace) -> int:
    from .enrol_boot import enrolled
    from .log import printing
    from .loop import run

    with printing(arguments.log_level):
        if not enrolled(config):
            return DONE
        return run(configuration.load(arguments.config))


def _status(config: configuration.Config, arguments: argparse.Namespace) -> int:
    from .clock import SystemClock
    from .loop import is_running
    from .status import live_standing, live_state, status_dict, status_words, stored_state

    clock, running = SystemClock(), is_running(config.state)
    state, broker = (live_state(config.run), live_standing(config.run)) if running else (None, None)
    if state is None:
        state = stored_state(config, _hardware(config), clock.boot(), clock.now())
    if arguments.json:
        print(json.dumps(status_dict(state, running, broker, clock.monotonic())))
    else:
        print(status_words(state, running, broker, clock.monotonic()), end="")
    return DONE


def _explain(config: configuration.Config, arguments: argparse.Namespace) -> int:
    from .status import explain, explain_dict, explain_words

    hardware = _hardware(config)
    rows = explain(config, hardware, _state(config, hardware))
    print(json.dumps(explain_dict(rows, hardware)) if arguments.json else explain_words(rows, hardware), end="")
    if arguments.json:
        print()
    return DONE


def _state(config: configuration.Config, hardware: Hardware) -> DeviceState:
    """Return what a running agent last told, else what the disk tells."""
    from .clock import SystemClock
    from .loop import is_running
    from .status import live_state, stored_state

    clock = SystemClock()
    told = live_state(config.run) if is_running(config.state) else None
    return told or stored_state(config, hardware, clock.boot(), clock.now())


def _hardware(config: configuration.Config) -> Hardware:
    from .hardware.probe import HardwareProbe

    return HardwareProbe(config.state, config.hardware.root, config.hardware.machine, keep=False).hardware()
