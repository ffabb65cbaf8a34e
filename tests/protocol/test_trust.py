"""Paths and roles of the repository."""

import pytest

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.trust import release_of_path, release_path, rollout_path, rollouts_role


def test_a_release_has_one_path_and_comes_back():
    assert release_path("fashion/3") == "releases/fashion/3.json"
    assert release_of_path("releases/fashion/3.json") == "fashion/3"


def test_a_region_has_a_role_and_one_path():
    assert rollouts_role("eu-west") == "rollouts-eu-west"
    assert rollout_path("eu-west") == "rollouts/eu-west.json"
    for make in (rollouts_role, rollout_path):
        with pytest.raises(BadName):
            make("../releases")


@pytest.mark.parametrize(
    "path",
    ("releases/fashion/3", "releases/fashion/0.json", "releases/fashion/03.json", "releases/../3.json",
     "/releases/fashion/3.json", "releases/fashion/3.json\n", "releases/-a/3.json", "releases/a/b/3.json",
     "rollouts/eu-west.json", "releases/fashion/1234567890.json", "releases/Fashion/3.json", ""),
)  # fmt: skip
def test_any_other_path_is_no_release(path):
    with pytest.raises(BadName):
        release_of_path(path)


def test_a_package_without_a_number_has_no_path():
    with pytest.raises(BadName, match="not numbered yet"):
        release_path("fashion/0")
