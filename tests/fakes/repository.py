"""A real trust repository in a folder, and packages to publish in it.

`tiny_onnx` and `make_package` work wherever the protocol is; the rest needs edgefleet-trust, which is imported only
when asked for, since the device's side is tested without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgefleet_protocol.rollout import Assignment, ReleaseRef, Rollout
from edgefleet_protocol.trust import release_path

from .package import make_package
from .tiny_model import answers, samples, tiny_onnx

if TYPE_CHECKING:
    from edgefleet_trust.online import OnlineKeys
    from edgefleet_trust.repository import Repository

__all__ = ["FakeRepository", "answers", "make_package", "make_repository", "publish_release", "samples", "tiny_onnx"]

PASSPHRASE = b"correct horse battery staple"


@dataclass
class FakeRepository:
    """A repository with its keys: nothing about it is fake but that one test holds all of them."""

    folder: Path
    keys_folder: Path
    passphrase_file: Path
    """Of offline and online keys alike; EDGEFLEET_PASSPHRASE_FILE may name it."""
    fixed_now: datetime | None = None
    """The moment at which it signs, in a world with a time of its own; else it is the machine's."""

    @property
    def now(self) -> datetime:
        """When it signs."""
        return self.fixed_now or datetime.now(timezone.utc)

    @property
    def repository(self) -> Repository:
        """The repository, read anew."""
        from edgefleet_trust.repository import Repository

        return Repository(self.folder)

    @cached_property
    def online(self) -> OnlineKeys:
        """The server's keys, opened once."""
        from edgefleet_trust.online import OnlineKeys

        return OnlineKeys.load(self.keys_folder, PASSPHRASE)

    @property
    def root(self) -> bytes:
        """Root 1, which devices are made with."""
        return (self.folder / "metadata" / "1.root.json").read_bytes()

    def ref(self, name: str) -> ReleaseRef:
        """The listed release called `name`, as a rollout names it."""
        return self.repository.releases()[name]

    def roll_out(self, region: str, *releases: str, **fields: object) -> Rollout:
        """Sign a rollout of the named releases to everyone in `region`; return it. `fields` are further fields of it."""
        current = self.repository.rollout(region)
        assignments = tuple(
            Assignment(
                model=name.partition("/")[0], release=ReleaseRef(path=release_path(name), sha256=self.ref(name).sha256)
            )
            for name in releases
        )
        rollout = Rollout(
            **{
                "region": region,
                "serial": current.serial + 1 if current else 1,
                "issued": self.now,
                "assignments": assignments,
                **fields,
            }  # type: ignore[arg-type]
        )
        self.repository.sign_rollout(rollout, self.online, self.now)
        return rollout

    def rotate(self, role: str, *, compromised: bool = False) -> None:
        """Give an online role (`timestamp`, `rollouts-eu-west`, `commands`, …) a new key: propose, sign, publish."""
        from edgefleet_trust.passphrase import Passphrase
        from edgefleet_trust.rotate import new_online_key, roles_of_compromise, rotate_online

        roles = roles_of_compromise(role) if compromised else (role,)
        secret = Passphrase(PASSPHRASE)
        fresh = {name: new_online_key(self.keys_folder, name, secret, fresh=True) for name in roles}
        self.carry(rotate_online(self.repository, fresh, self.now, compromised=compromised))

    def renew_root(self) -> None:
        """Publish the next generation of root, with the same holders."""
        from edgefleet_trust.rotate import renew

        self.carry(renew(self.repository, ["root"], self.now))

    def carry(self, motion: object) -> None:
        """Sign a motion with all offline keys that lie here, and publish it."""
        from edgefleet_trust.carry import publish_motion
        from edgefleet_trust.files import Disk
        from edgefleet_trust.motion import read_motion, write_motion
        from edgefleet_trust.motion_signing import review_motion, sign_motion
        from edgefleet_trust.passphrase import Passphrase

        file = self.folder.parent / "motion.json"
        write_motion(file, motion, Disk())  # type: ignore[arg-type]
        sign_motion(review_motion(file, self.keys_folder, self.now), file, self.keys_folder, Passphrase(PASSPHRASE))
        publish_motion(read_motion(file), self.repository, self.online, self.now)


def make_repository(
    tmp_path: Path,
    fleet: str = "demo",
    regions: Sequence[str] = ("eu-west", "ap-south"),
    now: datetime | None = None,
) -> FakeRepository:
    """Make `tmp_path/repository` and `tmp_path/keys` by the real ceremony, in a few tenths of a second."""
    from edgefleet_trust.ceremony import init
    from edgefleet_trust.passphrase import Passphrase

    moment = now or datetime.now(timezone.utc)
    passphrase_file = tmp_path / "passphrase"
    passphrase_file.write_bytes(PASSPHRASE + b"\n")
    passphrase_file.chmod(0o600)
    secret = Passphrase(PASSPHRASE)
    folder, keys = tmp_path / "repository", tmp_path / "keys"
    init(folder, keys, fleet, tuple(regions), secret, secret, moment, alone=True)
    return FakeRepository(folder=folder, keys_folder=keys, passphrase_file=passphrase_file, fixed_now=now)


def publish_release(repo: FakeRepository, package: Path, *, notes: str = "") -> str:
    """Propose, sign and publish the package folder; return the release's name, as `fashion/1`."""
    from edgefleet_trust.files import Disk
    from edgefleet_trust.passphrase import Passphrase
    from edgefleet_trust.proposal import read_proposal, write_proposal
    from edgefleet_trust.propose import propose
    from edgefleet_trust.publish import publish
    from edgefleet_trust.signing import review, sign_proposal

    file = repo.folder.parent / f"{package.name}.proposal"
    write_proposal(file, propose(package, repo.repository, repo.now, notes=notes), Disk())
    sign_proposal(review(file, repo.keys_folder, repo.now), file, repo.keys_folder, Passphrase(PASSPHRASE))
    return publish(read_proposal(file), repo.repository, repo.online, repo.now)
