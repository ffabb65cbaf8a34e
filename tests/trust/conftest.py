"""A repository with one release listed, and a second one proposed."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgefleet_trust.files import Disk
from edgefleet_trust.passphrase import Passphrase
from edgefleet_trust.proposal import Proposal, write_proposal
from edgefleet_trust.propose import propose
from edgefleet_trust.signing import Reviewed, review, sign_proposal
from tests.fakes.repository import PASSPHRASE, FakeRepository, make_package, make_repository, publish_release


@dataclass
class Desk:
    """Where a key holder sits: the repository, the keys, and a file to sign."""

    repo: FakeRepository
    file: Path

    def propose(self, seed: int = 2, model: str = "fashion", ballast: int = 0) -> Proposal:
        """Propose a package made from `seed`, and lay the proposal on the desk."""
        package = make_package(self.file.parent, model, seed=seed, ballast=ballast)
        return self.lay(propose(package, self.repo.repository, self.repo.now))

    def lay(self, proposal: Proposal) -> Proposal:
        """Lay a proposal on the desk, whatever it holds."""
        write_proposal(self.file, proposal, Disk())
        return proposal

    def review(self) -> Reviewed:
        """What the holder sees."""
        return review(self.file, self.repo.keys_folder, self.repo.now)

    def sign(self) -> None:
        """Review and sign."""
        sign_proposal(self.review(), self.file, self.repo.keys_folder, Passphrase(PASSPHRASE))


@pytest.fixture
def repo(tmp_path: Path) -> FakeRepository:
    """A repository in which fashion/1 is listed."""
    made = make_repository(tmp_path)
    publish_release(made, make_package(tmp_path, seed=1))
    return made


@pytest.fixture
def desk(repo: FakeRepository, tmp_path: Path) -> Desk:
    """A desk with nothing on it."""
    return Desk(repo, tmp_path / "proposal")
