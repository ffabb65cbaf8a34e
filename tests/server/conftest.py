"""What the server's tests share: a real repository with releases, a real broker, a server between them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet_server.app import Server
from edgefleet_server.config import BrokerConfig, HttpConfig, RolloutConfig, ServerConfig
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.repository import PASSPHRASE, FakeRepository, make_package, make_repository, publish_release

MakeServer = Callable[..., Server]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A real Mosquitto without persistence."""
    with BrokerProcess(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture(scope="session")
def signed_repo(tmp_path_factory: pytest.TempPathFactory) -> FakeRepository:
    """A real repository with two releases of `fashion`, signed; large enough for several chunks each. To be copied."""
    folder = tmp_path_factory.mktemp("signed")
    repo = make_repository(folder)
    for seed in (0, 7):
        publish_release(repo, make_package(folder / "packages", seed=seed, ballast=150_000))
    return repo


@pytest.fixture
def repo(tmp_path: Path, signed_repo: FakeRepository) -> FakeRepository:
    """A copy of the signed repository, to change at will."""
    shutil.copytree(signed_repo.folder, tmp_path / "repository")
    shutil.copytree(signed_repo.keys_folder, tmp_path / "keys")
    return replace(signed_repo, folder=tmp_path / "repository", keys_folder=tmp_path / "keys")


@pytest.fixture
def make_server(tmp_path: Path, repo: FakeRepository) -> MakeServer:
    """A function that makes a server for a broker's port; called again, one over the same database."""

    def make(port: int, **config: object) -> Server:
        return Server(
            ServerConfig(
                repository=repo.folder,
                keys=repo.keys_folder,
                data=tmp_path / "data",
                broker=BrokerConfig(port=port, open=True),
                rollouts=RolloutConfig(tick_s=0.1, offline_after_s=3.0),
                **{"http": HttpConfig(open=True), **config},  # type: ignore[arg-type]
            ),
            PASSPHRASE,
        )

    return make
