"""Copies the samples out: `python -m edgefleet_agent.hardware.samples DIR`."""

import argparse
import shutil
import sys
from pathlib import Path

from . import MACHINE, NAMES, path


def main(argv: list[str]) -> int:
    """Copy the boards into a folder, one below the other. Returns 0, or 1 when one is there already."""
    parser = argparse.ArgumentParser(
        prog="python -m edgefleet_agent.hardware.samples",
        description="Copy the files of sample boards out. Point `[hardware] root` of an agent.toml at one of them, "
        f'with `machine = "{MACHINE}"`.',
    )
    parser.add_argument("folder", type=Path, help="made if it is not there; gets one folder per board")
    parser.add_argument("--only", choices=NAMES, action="append", help="this board; may be given again")
    given = parser.parse_args(argv)
    for name in given.only or NAMES:
        target = given.folder / name
        if target.exists():
            print(f"{target} is there already: choose another folder or remove it", file=sys.stderr)
            return 1
        shutil.copytree(path(name), target)
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
