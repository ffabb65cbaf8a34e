"""`trust publish` refuses what devices would refuse, before anything moves; and a public tool believes model.sig."""

import os
import subprocess
import venv
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from edgefleet_trust.carry import publish_motion
from edgefleet_trust.errors import TrustError
from edgefleet_trust.export import export
from edgefleet_trust.files import Disk
from edgefleet_trust.keyfile import read_key
from edgefleet_trust.motion import Motion
from edgefleet_trust.passphrase import Passphrase
from edgefleet_trust.proposal import Proposal, read_proposal, write_proposal
from edgefleet_trust.propose import propose
from edgefleet_trust.publish import publish
from edgefleet_trust.roles import add_signature
from edgefleet_trust.rotate import renew
from edgefleet_trust.signing import review, sign_proposal
from tests.fakes.repository import PASSPHRASE, FakeRepository, make_package, make_repository, publish_release

from .report import must

EXPECTED = (
    "four bad proposals refused with nothing changed, and model_signing verifies the export and refuses a changed file"
)


def run(folder: Path) -> str:
    """Return what was refused and what the public tool said."""
    repo = make_repository(folder)
    publish_release(repo, make_package(folder, seed=1))
    refused = _four_proposals(repo, folder)
    export(repo.repository, "fashion/1", folder / "out")
    return f"{'; '.join(refused)}; {_public_tool(folder)}"


def _four_proposals(repo: FakeRepository, folder: Path) -> list[str]:
    file = folder / "second.proposal"
    write_proposal(file, propose(make_package(folder, seed=2), repo.repository, repo.now), Disk())
    unsigned = read_proposal(file)
    sign_proposal(review(file, repo.keys_folder, repo.now), file, repo.keys_folder, Passphrase(PASSPHRASE))
    signed = read_proposal(file)
    repository, online = repo.repository, repo.online
    attempts: dict[str, Callable[[], object]] = {
        "expired": lambda: publish(signed, repository, online, repo.now + timedelta(days=366)),
        "under-signed": lambda: publish(unsigned, repository, online, repo.now),
        "version-skipping": lambda: publish(_skipping(repo, unsigned), repository, online, repo.now),
        "unreadable by old clients": lambda: publish_motion(_unreadable(repo), repository, online, repo.now),
    }
    before = _contents(repo.folder)
    seen = []
    for what, attempt in attempts.items():
        try:
            attempt()
        except TrustError as error:
            must(error.exit_code == 5, f"{what}: refused for another reason: {error}")
            seen.append(f"{what} refused")
        else:
            must(False, f"{what}: published")
        must(_contents(repo.folder) == before, f"{what}: refused, and the repository changed")
    return seen


def _skipping(repo: FakeRepository, proposal: Proposal) -> Proposal:
    """A holder is made to sign a list that is two versions on."""
    metadata = proposal.next()
    metadata.signed.version += 1
    signer = read_key(repo.keys_folder / "offline/releases.json", Passphrase(PASSPHRASE))
    return replace(proposal, releases=add_signature(metadata, signer))


def _unreadable(repo: FakeRepository) -> Motion:
    """A root that only its new holder signed: no device that has the last one would walk to it."""
    motion = renew(repo.repository, ["root"], repo.now)
    stranger = read_key(repo.keys_folder / "offline/keys.json", Passphrase(PASSPHRASE))
    root: Metadata[Root] = motion.metadata("root")
    for role in ("root", "targets"):
        root.signed.revoke_key(root.signed.roles[role].keyids[0], role)
        root.signed.add_key(stranger.public_key, role)
    root.sign(stranger)
    return motion.with_signed({"root": root})


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _public_tool(folder: Path) -> str:
    """Verify with the tool itself, in an environment of its own."""
    place = folder / "tool"
    venv.create(place, with_pip=True)
    install = [str(place / "bin/python"), "-m", "pip", "install", "-q", "model-signing==1.1.1", "pyOpenSSL"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=500, check=False)
    must(done.returncode == 0, f"model-signing could not be installed: {done.stderr[-500:]}")
    out = folder / "out"
    verify = [str(place / "bin/model_signing"), "verify", "key", str(out / "model"), "--signature", str(out / "model.sig"),
              "--public_key", str(out / "holder.pem")]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    good = subprocess.run(verify, capture_output=True, text=True, timeout=120, check=False, env=environment)
    must(good.returncode == 0, f"the public tool refuses model.sig: {good.stdout[-300:]}{good.stderr[-300:]}")
    victim = next(path for path in sorted((out / "model").rglob("*.onnx")))
    victim.write_bytes(victim.read_bytes() + b"x")
    bad = subprocess.run(verify, capture_output=True, text=True, timeout=120, check=False, env=environment)
    must(bad.returncode != 0, "the public tool accepts a changed file")
    return "model_signing verifies model.sig and refuses a changed file"
