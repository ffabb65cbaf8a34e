"""`make device-lab`: the packages on a device in a box, with a real server and broker outside: one line each; exit 0 only if all held."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from argparse import ArgumentParser
from pathlib import Path

from .box import Box, NoBox
from .outside import Outside
from .promises import ALL, Lab

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str]) -> int:
    """Run every promise; return 0 when all held, 1 when one did not, 2 when there can be no box here."""
    parser = ArgumentParser(prog="make device-lab", description=__doc__)
    parser.add_argument("packages", nargs="*", type=Path, help="the .deb files; default: build them")
    parser.add_argument("--suite", default="bookworm", choices=("bookworm", "trixie"), help="of Debian (bookworm)")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("LAB", ROOT / ".lab")),
        help="where roots and packages are kept (.lab, or what LAB says)")  # fmt: skip
    options = parser.parse_args(argv)
    box = Box(options.folder, options.suite)
    # What was started ends with this, also when it is told to end.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    try:
        box.make()
        packages = options.packages or _packages(options.folder / "debs", options.suite)
        newer = [_raised(next(path for path in packages if "agent" in path.name), options.folder)]
        box.boot()
        with Outside(box) as outside:
            return _promises(Lab(box, packages, newer, outside))
    except NoBox as error:
        print(f"device-lab: {error}", file=sys.stderr)
        return 2
    finally:
        box.cut()


def _promises(lab: Lab) -> int:
    failed = []
    for promise in ALL:
        name, began = promise.__name__.replace("_", " "), time.monotonic()
        try:
            seen, word = promise(lab), "held"
        except Exception as error:
            seen, word = " ".join(str(error).split()) or traceback.format_exc(limit=2), "FAILED"
            failed.append(name)
        print(f"{word:<6} {name}: {seen} ({time.monotonic() - began:.0f} s)", flush=True)
    print(json.dumps({"held": len(ALL) - len(failed), "failed": failed, "figures": lab.figures}))
    return 1 if failed else 0


def _packages(out: Path, suite: str) -> list[Path]:
    """Return both packages. The runtime, which is large, is built again only when what it is made of changed."""
    made_of = (ROOT / "constraints.txt", ROOT / "scripts/build-deb", *(ROOT / "deploy/debian").glob("runtime-*"))
    changed = max(path.stat().st_mtime for path in made_of)
    runtime = [path for path in out.glob(f"edgefleet-runtime_*+{suite}_*.deb") if path.stat().st_ctime > changed]
    return [*_build(out, suite, "agent"), *(runtime or _build(out, suite, "runtime"))]


def _build(out: Path, suite: str, which: str) -> list[Path]:
    words = ["--suite", suite, "--out", str(out), "--only", which, "--compress", "gzip"]
    made = subprocess.run([sys.executable, str(ROOT / "scripts/build-deb"), *words], capture_output=True, text=True)
    if made.returncode != 0:
        raise NoBox(f"scripts/build-deb: {made.stderr.strip()[-500:]}")
    return [Path(line) for line in made.stdout.split() if line.endswith(".deb")]


def _raised(package: Path, folder: Path) -> Path:
    """Return the same package as a later version."""
    tree, made = folder / "later", folder / "edgefleet-agent-later.deb"
    shutil.rmtree(tree, ignore_errors=True)
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", "Version: 9.9.9", control.read_text()))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(made)], check=True,
        stdout=subprocess.DEVNULL)  # fmt: skip
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
