"""`python -m edgefleet_client`: tools around a served model."""

import argparse
import sys

from . import load


def main(argv: list[str]) -> int:
    """Run one command. Returns its exit code: 0 done, 1 failed, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="python -m edgefleet_client",
        description="Tools around a model that is served on this device.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage.",
    )
    load.add_parser(parser.add_subparsers(required=True, metavar="COMMAND"))
    given = parser.parse_args(argv)
    code: int = given.run(given)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
