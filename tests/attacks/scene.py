"""A real repository whose every key the attacker may hold, and a device that looks at it by its own child process."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata

from edgefleet_agent.looker import ChildLooker
from edgefleet_agent.seams import Looked, Missing, Refused
from edgefleet_protocol import codec
from edgefleet_protocol.rollout import Rollout
from edgefleet_protocol.trust import rollouts_role
from edgefleet_trust.desk import ANCHOR
from edgefleet_trust.keyfile import read_key
from edgefleet_trust.passphrase import Passphrase
from tests.attacks.report import Broken, must
from tests.fakes.repository import PASSPHRASE, FakeRepository, make_package, make_repository, publish_release
from tests.fakes.signed_world import Device, World

DAY = timedelta(days=1)
WEST = "eu-west"


def honest(folder: Path, releases: int = 1) -> FakeRepository:
    """Return a repository as the ceremony, `release propose`, `trust sign` and `trust publish` make it, rolled out."""
    folder.mkdir(parents=True, exist_ok=True)
    repo = make_repository(folder)
    for seed in range(releases):
        publish_release(repo, make_package(folder, seed=seed))
    repo.roll_out(WEST, f"fashion/{releases}")
    return repo


def opened(repo: FakeRepository) -> World:
    """Return the repository as a World: its bytes, and every one of its keys, to sign with what an attacker has."""
    current, world = repo.repository.current(), World.__new__(World)
    world.now = datetime.now(timezone.utc).replace(microsecond=0)
    world.regions = repo.repository.regions()
    secret = Passphrase(PASSPHRASE)
    keys = [path for path in repo.keys_folder.glob("o*line/*.json") if path.name != ANCHOR]
    world.keys = {path.stem: read_key(path, secret) for path in keys}
    names = {"root": f"{current.root.version}.root.json", "timestamp": "timestamp.json"}
    names["snapshot"] = f"{current.snapshot.version}.snapshot.json"
    names |= {role: current.role_file(role) for role in current.roles}
    world.roles = {role: Metadata[Any].from_bytes(current.files[name]) for role, name in names.items()}
    world.held, world.targets = dict(repo.repository.metadata()), dict(repo.repository.targets())
    world.targets |= {ref.sha256: repo.repository.manifest(ref)[1] for ref in repo.repository.releases().values()}
    world.anchor = repo.root
    wishes = [repo.repository.rollout(region) for region in world.regions]
    world.serial = max((wish.serial for wish in wishes if wish is not None), default=0)
    return world


class Scene:
    """The world that the broker gives out, and one device. Every look is a process of its own, as on a real device."""

    def __init__(self, folder: Path, releases: int = 1) -> None:
        self.repo = honest(folder, releases)
        self.world = opened(self.repo)
        self.scratch = folder / "run"
        self.scratch.mkdir()
        self.device = self.new_device()
        self.looks = 0

    def new_device(self) -> Device:
        """Return a device that knows root 1 and nothing else."""
        return Device(root=self.repo.root, scratch=self.scratch, region=WEST, looker=ChildLooker(self.scratch))

    def look(
        self,
        held: Mapping[str, bytes] | None = None,
        targets: Mapping[str, bytes] | None = None,
        device: Device | None = None,
    ) -> Looked | Missing | Refused:
        """Let the device look at what the broker gives out."""
        self.looks += 1
        return (device or self.device).look(
            self.world.held if held is None else held, self.world.targets if targets is None else targets
        )

    def believes(self, what: str, device: Device | None = None) -> Looked:
        """The device must believe it."""
        answer = self.look(device=device)
        if not isinstance(answer, Looked):
            raise Broken(f"{what}: the honest state was not believed: {answer}")
        return answer

    def refuses(self, what: str, *words: str, device: Device | None = None) -> str:
        """The device must refuse it, for a reason with one of these words, and remember nothing of it."""
        one = device or self.device
        before = one.cache, one.memory
        answer = self.look(device=one)
        must(isinstance(answer, Refused), f"{what}: {_brief(answer)}, not a refusal")
        assert isinstance(answer, Refused)
        must(any(word in answer.reason for word in words), f"{what}: refused for another reason: {answer.reason}")
        must((one.cache, one.memory) == before, f"{what}: refused, and yet something of it was kept")
        return answer.reason


def serial(looked: Looked) -> int:
    """Return the number of the rollout that was believed."""
    assert looked.rollout is not None
    return codec.decode(looked.rollout, Rollout).serial


def in_use(world: World) -> list[str]:
    """Return the names of the metadata that a device of the region looks at now, all but root 1."""
    roles = [role for role in world.roles if role not in ("root", "timestamp", "rollouts-ap-south")]
    names = [f"{world.roles[role].signed.version}.{role}.json" for role in roles]
    roots = [name for name in world.held if name.endswith(".root.json") and name != "1.root.json"]
    return ["timestamp.json", *names, *roots]


def next_rollout(world: World, *refs: Any) -> None:
    """Sign one more rollout for the region, by its own key."""
    world.roll_out(WEST, *refs)
    world.online_round(rollouts_role(WEST))


def _brief(answer: object) -> str:
    return f"{type(answer).__name__} {str(answer)[:200]}"
