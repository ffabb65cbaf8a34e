"""A signed repository in memory, of which a test holds every key: what an attacker with some of them could publish.

Signs with python-tuf alone, as the device's side has it; edgefleet-trust is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, Looker, LookRequest, Memory, Missing, Refused
from edgefleet_protocol import codec
from edgefleet_protocol.rollout import Assignment, ReleaseRef, Rollout
from edgefleet_protocol.trust import (
    COMMAND_KEYS_PATH,
    ISSUED_FIELD,
    KeyList,
    PublicKey,
    release_path,
    rollout_path,
    rollouts_role,
)

from .package import make_release

_COMPACT = JSONSerializer(compact=True)
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


def this_moment() -> datetime:
    """The time, in whole seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0)


class World:
    """The repository. `held` and `targets` are what its broker gives out; change them freely."""

    def __init__(self, regions: Sequence[str] = ("eu-west", "ap-south"), now: datetime | None = None) -> None:
        self.now = now or this_moment()
        self.regions = tuple(regions)
        online = ("snapshot", "timestamp", *(rollouts_role(region) for region in regions))
        names = ("root", "releases", "keys", "commands", *online)
        self.keys: dict[str, Signer] = {name: CryptoSigner.generate_ed25519() for name in names}
        self.roles: dict[str, Metadata[Any]] = {}
        self.held: dict[str, bytes] = {}
        self.targets: dict[str, bytes] = {}
        self.serial = 0
        self._first_roles()
        command = self.keys["commands"].public_key
        key = PublicKey(
            keyid=command.keyid, keytype=command.keytype, scheme=command.scheme, public=command.keyval["public"]
        )
        self.target("keys", COMMAND_KEYS_PATH, codec.encode(KeyList(keys=(key,))))
        for role in self.roles:
            if role not in ("snapshot", "timestamp"):
                self.put(role)
        self.anchor = self.held["1.root.json"]
        self.head()
        self.online_round(first=True)

    def _first_roles(self) -> None:
        far = self.now + timedelta(days=365)
        root = Root(version=1, expires=far, consistent_snapshot=True)
        for role, key in (("root", "root"), ("targets", "root"), ("snapshot", "snapshot"), ("timestamp", "timestamp")):
            root.add_key(self.keys[key].public_key, role)
        root.unrecognized_fields[ISSUED_FIELD] = self.now.strftime(_STAMP)
        patterns = {"releases": "releases/*/*", "keys": "keys/*"}
        patterns |= {rollouts_role(region): rollout_path(region) for region in self.regions}
        public = {name: self.keys[name].public_key for name in patterns}
        delegations = Delegations(
            {key.keyid: key for key in public.values()},
            {name: DelegatedRole(name, [public[name].keyid], 1, True, paths=[path]) for name, path in patterns.items()},
        )
        self.roles["root"] = Metadata(root)
        self.roles["targets"] = Metadata(Targets(version=1, expires=far, delegations=delegations))
        for name in patterns:
            self.roles[name] = Metadata(Targets(version=1, expires=far))
        self.roles["snapshot"] = Metadata(Snapshot(version=1, expires=self.now + timedelta(days=30)))
        self.roles["timestamp"] = Metadata(Timestamp(version=1, expires=self.now + timedelta(days=7)))

    def signer(self, role: str) -> Signer:
        """The key that rightly signs `role`."""
        return self.keys["root" if role == "targets" else role]

    def put(self, role: str, *signers: Signer) -> None:
        """Sign `role` as it stands, by its own key or by `signers`, and give it out."""
        metadata = self.roles[role]
        metadata.signatures.clear()
        for signer in signers or (self.signer(role),):
            metadata.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        self.held[name] = metadata.to_bytes(_COMPACT)

    def online_round(self, *roles: str, issued: datetime | None = None, first: bool = False) -> None:
        """Sign `roles` anew, one version on, then snapshot and timestamp: what the server's hand does for a change."""
        for role in roles:
            self.roles[role].signed.version += 1
            self.put(role)
        snapshot, timestamp = self.roles["snapshot"].signed, self.roles["timestamp"].signed
        for role, metadata in self.roles.items():
            if role not in ("root", "snapshot", "timestamp"):
                name = f"{metadata.signed.version}.{role}.json"
                snapshot.meta[f"{role}.json"] = _meta(metadata.signed.version, self.held[name])
        if not first:
            snapshot.version += 1
            timestamp.version += 1
        self.put("snapshot")
        timestamp.snapshot_meta = _meta(snapshot.version, self.held[f"{snapshot.version}.snapshot.json"])
        timestamp.unrecognized_fields[ISSUED_FIELD] = (issued or self.now).strftime(_STAMP)
        self.put("timestamp")

    def head(self, number: int | None = None) -> None:
        """Give out the hint of the newest root."""
        self.held["head"] = b'{"root": %d}' % (number or self.roles["root"].signed.version)

    def target(self, role: str, path: str, body: bytes) -> str:
        """Let `role` list `body` at `path` (not signed yet); return the digest."""
        file = TargetFile.from_data(path, body, ["sha256"])
        self.roles[role].signed.targets[path] = file
        self.targets[file.hashes["sha256"]] = body
        return file.hashes["sha256"]

    def list_release(self, model: str, version: int, *, role: str = "releases", **fields: Any) -> ReleaseRef:
        """Let `role` list a release (not signed yet); return its reference."""
        release, _ = make_release(model, version=version, seed=version, **fields)
        path = release_path(release.name)
        return ReleaseRef(path=path, sha256=self.target(role, path, codec.encode(release)))

    def roll_out(self, to: str, *refs: ReleaseRef, role: str | None = None, **fields: Any) -> None:
        """Let the role of region `to` list a rollout of `refs` (not signed yet). `fields` replace fields of the document."""
        self.serial += 1
        document = {
            "region": to,
            "serial": self.serial,
            "issued": self.now,
            "assignments": tuple(Assignment(model=ref.path.split("/")[1], release=ref) for ref in refs),
            **fields,
        }
        self.target(role or rollouts_role(to), rollout_path(to), codec.encode(Rollout(**document)))

    def release_everywhere(self, model: str = "fashion", version: int = 1) -> ReleaseRef:
        """List a release, roll it out to every region, and sign all of it."""
        ref = self.list_release(model, version)
        for region in self.regions:
            self.roll_out(region, ref)
        self.online_round("releases", *(rollouts_role(region) for region in self.regions))
        return ref

    def rotate(self, key: str, *signers: Signer) -> None:
        """Replace a top-level key by a new root; signed by the old and the new root key, or by `signers`."""
        root: Root = self.roles["root"].signed
        old_root = self.keys["root"]
        old, self.keys[key] = self.keys[key], CryptoSigner.generate_ed25519()
        for role in ("root", "targets") if key == "root" else (key,):
            root.revoke_key(old.public_key.keyid, role)
            root.add_key(self.keys[key].public_key, role)
        root.version += 1
        self.put("root", *(signers or (old_root, self.keys["root"])))
        self.head()
        if key == "root":
            self.roles["targets"].signed.version += 1
            self.put("targets")

    def expire(self, role: str, when: datetime) -> None:
        """Let `role` end at `when` (not signed yet)."""
        self.roles[role].signed.expires = when


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": codec.sha256_hex(data)})


@dataclass
class Device:
    """What a device keeps between looks."""

    root: bytes
    scratch: Path
    region: str | None = "eu-west"
    now: datetime = field(default_factory=this_moment)
    cache: Mapping[str, bytes] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    looker: Looker | None = None

    def look(self, held: Mapping[str, bytes], targets: Mapping[str, bytes]) -> Looked | Missing | Refused:
        """Look once, and keep cache and memory when it passed."""
        request = LookRequest(
            root=self.root,
            cache=self.cache,
            memory=self.memory,
            held=held,
            targets=targets,
            region=self.region,
            now=self.now,
        )
        answer = (self.looker or InProcessLooker(self.scratch)).look(request)
        if isinstance(answer, Looked):
            self.cache, self.memory = answer.cache, answer.memory
        return answer

    def passes(self, world: World) -> Looked:
        """Look at all that the world gives out; fail unless it is believed."""
        answer = self.look(world.held, world.targets)
        assert isinstance(answer, Looked), answer
        return answer

    def refuses(self, world: World, *words: str) -> str:
        """Look at all that the world gives out; fail unless it is refused for the reason that `words` name."""
        before = self.cache, self.memory
        answer = self.look(world.held, world.targets)
        assert isinstance(answer, Refused), answer
        assert all(word in answer.reason for word in words), answer.reason
        assert (self.cache, self.memory) == before
        return answer.reason

    def fetches(self, world: World, names: Iterable[str] = ()) -> tuple[Looked, list[Missing]]:
        """Look, fetch what is missing and look again, as an agent does, from `names` on; return how it went."""
        held = {name: world.held[name] for name in names}
        targets: dict[str, bytes] = {}
        rounds: list[Missing] = []
        for _ in range(12):
            answer = self.look(held, targets)
            if isinstance(answer, Looked):
                return answer, rounds
            assert isinstance(answer, Missing), answer
            rounds.append(answer)
            held |= {name: world.held[name] for name in answer.metadata}
            targets |= {name: world.targets[name] for name in answer.targets}
        raise AssertionError(f"still missing after {len(rounds)} rounds: {rounds[-1]}")
