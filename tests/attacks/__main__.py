"""`make attacks`: every attack against the real product, one line each; exit 0 only if all held.

An attack is a module `attack_<number>_<name>.py` with `EXPECTED` (words) and `run(folder) -> str`: it makes what it needs in the
empty `folder`, raises `report.Broken` when the product did not hold, and returns what was seen. Names on the command line choose.
"""

import importlib
import json
import re
import sys
import tempfile
import time
import traceback
from argparse import ArgumentParser
from pathlib import Path

from tests.attacks.report import Broken

NAME = re.compile(r"attack_(\d+)_(\w+)\.py")


def main(argv: list[str]) -> int:
    """Run the attacks that `argv` names by number, or all; return 0 when all held."""
    parser = ArgumentParser(prog="make attacks", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="only these")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")
    arguments = parser.parse_args(argv)
    rows = []
    for number, name in _attacks():
        if arguments.numbers and number not in arguments.numbers:
            continue
        attack = importlib.import_module(f"tests.attacks.attack_{number:02d}_{name}")
        started = time.monotonic()
        held, seen = _run(attack.run)
        took_s = time.monotonic() - started
        rows.append({"number": number, "name": name, "expected": attack.EXPECTED, "seen": seen, "held": held})
        words = name.replace("_", " ")
        print(
            f"{number:2d} {'held  ' if held else 'BROKEN'} {words}: expected {attack.EXPECTED}; seen {seen} ({took_s:.1f} s)",
            flush=True,
        )
    broken = [row["number"] for row in rows if not row["held"]]
    missing = set(arguments.numbers) - {row["number"] for row in rows}
    print(f"{len(rows) - len(broken)} of {len(rows)} held" + (f"; broken: {broken}" if broken else ""))
    if missing:
        print(f"there is no attack {sorted(missing)}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"attacks": rows}))
    return 1 if broken or missing or not rows else 0


def _attacks() -> list[tuple[int, str]]:
    found = (NAME.fullmatch(path.name) for path in Path(__file__).parent.iterdir())
    return sorted((int(match[1]), match[2]) for match in found if match)


def _run(attack: "object") -> "tuple[bool, str]":
    with tempfile.TemporaryDirectory(prefix="ef-attack-") as folder:
        try:
            return True, attack(Path(folder))  # type: ignore[operator]
        except Broken as broken:
            return False, str(broken)
        except Exception:
            return False, "the attack itself failed: " + traceback.format_exc(limit=3).replace("\n", " | ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
