"""What a proposal takes over from its package."""

from pathlib import Path

import msgspec
import pytest

from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.manifest import Release
from edgefleet_trust.errors import BadPackage
from edgefleet_trust.golden import check_golden
from edgefleet_trust.propose import propose
from tests.fakes.package import make_package
from tests.fakes.repository import make_repository


def test_notes_of_the_proposer_stand_before_those_of_the_package_which_may_be_warnings(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    package = make_package(tmp_path)
    draft = decode((package / "release.json").read_bytes(), Release)
    noted = msgspec.structs.replace(draft, notes="the original is near chance")
    (package / "release.json").write_bytes(encode(noted))
    made = propose(package, repository.repository, repository.now, notes="for the spring")
    assert decode(made.manifest, Release).notes == "for the spring\nthe original is near chance"


def test_a_package_whose_golden_answers_are_not_given_is_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    assert check_golden(package)
    golden = package / "files/golden/int8.f32"
    golden.write_bytes(bytes(len(golden.read_bytes())))
    with pytest.raises(BadPackage, match="int8 is off by"):
        check_golden(package)
