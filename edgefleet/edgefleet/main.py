"""`edgefleet NOUN VERB …`: a dispatcher over the entry-point group `edgefleet.commands`. Loads only what was asked for."""

import sys
from importlib.metadata import entry_points

from . import __version__

GROUP = "edgefleet.commands"

# Which part brings a noun, so that a missing one is answered with the line that installs it.
NOUNS = {
    "agent": ("agent", "what runs on a device: run, status, explain"),
    "compress": ("compress", "a trained model into variants for the fleet's hardware"),
    "trust": ("trust", "keys and signatures: init, sign, publish, status, verify"),
    "release": ("trust", "propose a folder of variants as a release; list releases"),
    "server": ("server", "releases, rollouts, telemetry, API and dashboard"),
    "rollout": ("server", "plan, start and watch rollouts by region"),
    "device": ("server", "the fleet's devices, and where they belong"),
    "region": ("server", "how regions are set: policies in versions, and freezes"),
    "group": ("server", "groups of devices, saved as queries"),
    "alert": ("server", "what needs a person: list, show, ack, silence"),
    "sim": ("sim", "thousands of virtual devices against a real broker and server"),
    "demo": ("server", "the whole job on this machine, with four devices"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` names; return its exit code: 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        return _dispatch(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # also while a part is being imported, which takes seconds where torch is
        return 130


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: edgefleet NOUN VERB [options]\n")
        for noun, (_, text) in NOUNS.items():
            print(f"  {noun:<10} {text}")
        print("\nedgefleet NOUN --help says more. edgefleet --version prints the version.")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(__version__)
        return 0
    noun, rest = arguments[0], arguments[1:]
    found = [entry for entry in entry_points(group=GROUP) if entry.name == noun]
    if found:
        return int(found[0].load()(rest))
    if noun in NOUNS:
        part = NOUNS[noun][0]
        print(
            f"edgefleet {noun}: the part is not installed. Install it: pip install 'edgefleet[{part}]'", file=sys.stderr
        )
    else:
        print(f"edgefleet: there is no {noun!r}. There are: {', '.join(NOUNS)}", file=sys.stderr)
    return 2
