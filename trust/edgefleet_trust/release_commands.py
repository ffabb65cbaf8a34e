"""`edgefleet release`: propose, list, withdraw, export."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from .cli import DONE, EXIT_CODES, run, say, utc_now
from .errors import BreaksRule
from .export import export
from .files import Disk
from .golden import check_golden
from .motion import write_motion
from .proposal import manifest_digest, write_proposal
from .propose import progress, propose
from .repository import Repository
from .rotate import withdraw
from .running import devices_that_run


def main(argv: list[str] | None = None) -> int:
    """Run `edgefleet release ARGV`; return the exit code: 0 done, 1 failed, 2 usage, 3 not found, 5 refused by a rule."""
    return run(_parser(), sys.argv[1:] if argv is None else argv)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="edgefleet release", description="Propose a folder of variants as a release.", epilog=EXIT_CODES
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    propose = verbs.add_parser("propose", help="check, number and cut a package; write the file that holders sign")
    propose.add_argument("package", type=Path, help="a folder that `edgefleet compress` made")
    propose.add_argument("--repository", type=Path, required=True, metavar="REPO")
    propose.add_argument("--out", type=Path, required=True, metavar="FILE", help="the proposal to write; must be new")
    propose.add_argument("--notes", default="", help="what is new, for the people who sign it")
    propose.add_argument("--no-golden", action="store_true", help="do not ask the models their golden inputs here")
    propose.set_defaults(verb=_propose)

    listed = verbs.add_parser("list", help="the listed releases")
    listed.add_argument("--repository", type=Path, required=True, metavar="REPO")
    listed.set_defaults(verb=_list)

    gone = verbs.add_parser("withdraw", help="unlist a release, so that no device takes it: writes a file to be signed")
    gone.add_argument("release", nargs="+", help="as MODEL/NUMBER")
    gone.add_argument("--repository", type=Path, required=True, metavar="REPO")
    gone.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write; must be new")
    gone.add_argument("--server", metavar="URL", help="asked which devices run it; its token is in EDGEFLEET_TOKEN")
    gone.set_defaults(verb=_withdraw)

    out = verbs.add_parser("export", help="a release as plain files, with model.sig and provenance for other tools")
    out.add_argument("release", help="as MODEL/NUMBER")
    out.add_argument("--repository", type=Path, required=True, metavar="REPO")
    out.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    out.set_defaults(verb=_export)

    for verb in (propose, listed, gone, out):
        verb.epilog = EXIT_CODES
        verb.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _propose(arguments: Namespace) -> int:
    if arguments.out.exists():
        raise BreaksRule(f"{arguments.out} exists and may hold signatures: name a new file")
    repository = Repository(arguments.repository)
    proposal = propose(arguments.package, repository, utc_now(), notes=arguments.notes, say=progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)  # below the line that told how far it was
    asked = not arguments.no_golden and check_golden(arguments.package)
    write_proposal(arguments.out, proposal, Disk())
    release = proposal.release()
    wire = sum(len(payload) for payload in proposal.chunks.values())
    new = sum(len(payload) for name, payload in proposal.chunks.items() if repository.chunk(name) is None)
    answer = {
        "release": release.name,
        "sha256": manifest_digest(proposal),
        "file": str(arguments.out),
        "variants": [variant.name for variant in release.variants],
        "wire_bytes": wire,
        "new_wire_bytes": new,
        "golden_checked": asked,
    }
    lines = [
        f"Proposed {release.name} with {len(release.variants)} variants: {wire / 1e6:.2f} MB as it travels, "
        f"{new / 1e6:.2f} MB of it new.",
        f"Next: edgefleet trust sign {arguments.out} --keys KEYS",
    ]
    if not asked:
        lines.insert(1, "Golden inputs were NOT asked here (no onnxruntime); each device asks them before it serves.")
    say(arguments, answer, lines)
    return DONE


def _list(arguments: Namespace) -> int:
    repository = Repository(arguments.repository)
    rows: list[dict[str, Any]] = []
    lines = []
    for name, ref in sorted(repository.releases().items()):
        release, _ = repository.manifest(ref)
        rows.append(
            {
                "release": name,
                "sha256": ref.sha256,
                "created": release.created.isoformat() if release.created else None,
                "variants": [variant.name for variant in release.variants],
                "notes": release.notes,
            }
        )
        lines.append(f"{name}  {ref.sha256[:12]}  {', '.join(variant.name for variant in release.variants)}")
    say(arguments, {"releases": rows}, lines or ["No release is listed yet."])
    return DONE


def _withdraw(arguments: Namespace) -> int:
    if arguments.out.exists():
        raise BreaksRule(f"{arguments.out} exists and may hold signatures: name a new file")
    motion = withdraw(Repository(arguments.repository), arguments.release, utc_now())
    running = devices_that_run(arguments.server, arguments.release) if arguments.server else None
    write_motion(arguments.out, motion, Disk())
    names = ", ".join(arguments.release)
    if running is None:
        who = "Which devices run it: `edgefleet device list`, or name the server here with --server."
    else:
        who = f"{len(running)} devices run it: {', '.join(running) or '-'}."
    lines = [
        f"Wrote {arguments.out}: the withdrawal of {names}. {who}",
        "Devices that run it go on until a rollout gives them another; start one.",
        f"Next, each holder of releases: edgefleet trust sign {arguments.out} --keys KEYS",
    ]
    say(arguments, {"file": str(arguments.out), "releases": arguments.release, "running": running}, lines)
    return DONE


def _export(arguments: Namespace) -> int:
    names = export(Repository(arguments.repository), arguments.release, arguments.out)
    lines = [f"Wrote {len(names)} files to {arguments.out}."]
    if "model.sig" in names:
        place = arguments.out
        lines.append(
            f"Verify: model_signing verify key {place / 'model'} --signature {place / 'model.sig'} "
            f"--public_key {place / 'holder.pem'}"
        )
    else:
        lines.append("No holder signed it with a P-256 key, so there is no model.sig: see docs/guides/keys.md.")
    say(arguments, {"release": arguments.release, "files": names}, lines)
    return DONE
