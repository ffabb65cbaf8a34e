"""The trust repository in a folder: what the server publishes, and the three changes that it makes by itself.

Readers need no lock: every state is reached from timestamp.json, and files come into place by renames.
"""

import json
import logging
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Metadata, TargetFile, Targets

from edgefleet_protocol import codec
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.names import is_sha256
from edgefleet_protocol.rollout import ReleaseRef, Rollout
from edgefleet_protocol.trust import (
    COMMAND_KEYS_PATH,
    KEYS_ROLE,
    ROLLOUT_LIMIT,
    release_of_path,
    rollout_path,
    rollouts_role,
)

from .commit import KEPT_VERSIONS, Change, commit, last_issued, signing_time
from .current import CHUNKS, METADATA, Current, digest, read_current, read_target
from .errors import BreaksRule, NotThere, TrustError
from .files import Disk, locked
from .online import OnlineKeys
from .roles import ONLINE_LIFE, life, sign, whole_seconds

LOG = logging.getLogger(__name__)
REFRESH_AFTER = timedelta(days=1)
_RETRIES = 5


class Repository:
    """A trust repository. Nothing is kept in memory between calls: another process may change the folder."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk = disk or Disk()
        try:
            about = json.loads((folder / "fleet.json").read_bytes())
            self.fleet: str = about["fleet"]
            self._regions: tuple[str, ...] = tuple(about["regions"])
        except FileNotFoundError as error:
            raise NotThere(
                f"{folder} holds no trust repository: make one with `edgefleet trust init --repository {folder}`"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise TrustError(f"{folder / 'fleet.json'} is damaged: {error}. Restore it from a backup") from error

    def regions(self) -> tuple[str, ...]:
        """Return the regions that the repository has a rollouts role for."""
        return self._regions

    def current(self) -> Current:
        """Return the current state; raise TrustError when the folder is damaged."""
        for _ in range(_RETRIES):
            try:
                return read_current(self.folder)
            except NotThere:
                raise
            except TrustError:
                continue  # a publish in another process may have removed a version under our hands
        return read_current(self.folder)

    def releases(self) -> dict[str, ReleaseRef]:
        """Return the listed releases by name, as `fashion/1`."""
        return self.current().releases()

    def manifest(self, ref: ReleaseRef) -> tuple[Release, bytes]:
        """Return the manifest that `ref` names, and its bytes; raise NotThere when the repository lacks it."""
        if not is_sha256(ref.sha256):
            raise NotThere(f"{ref.sha256!r} is no SHA-256")
        data = read_target(self.folder, ref.sha256)
        return codec.decode(data, Release), data

    def rollout(self, region: str) -> Rollout | None:
        """Return what `region` should run now, or None when nothing was signed for it yet."""
        target = self._rollout_target(self.current(), region)
        if target is None:
            return None
        return codec.decode(read_target(self.folder, digest(target)), Rollout, limit=ROLLOUT_LIMIT)

    def sign_rollout(self, rollout: Rollout, keys: OnlineKeys, now: datetime) -> None:
        """Sign `rollout` as what its region should run from now on.

        Raises BreaksRule, with nothing changed, for an unknown region, a release that is not listed under the same path
        and digest, or a serial that does not count up.
        """
        with locked(self.folder):
            current = self.current()
            self._check(current, rollout)
            path, role = rollout_path(rollout.region), rollouts_role(rollout.region)
            body = codec.encode(rollout)
            if len(body) > ROLLOUT_LIMIT:
                raise BreaksRule(f"the rollout has {len(body)} bytes and devices read {ROLLOUT_LIMIT}")
            target = TargetFile.from_data(path, body, ["sha256"])
            change = Change(
                roles={role: self._next(current, role, {path: target}, keys, now)},
                targets={digest(target): body},
                found={path: digest(target)},
            )
            commit(self.folder, current, change, keys, now, self._disk)

    def refresh(self, keys: OnlineKeys, now: datetime) -> bool:
        """Sign timestamp and snapshot anew when they are older than a day; return whether it was done.

        A region's role is signed anew with them when half of its life is over. Raises WrongClock when `now` is before
        the time that was signed last.
        """
        if not self._old(self.current(), now):
            return False
        with locked(self.folder):
            current = self.current()
            if not self._old(current, now):
                return False
            roles = {
                role: self._next(current, role, body.targets, keys, now)
                for role, body in current.roles.items()
                if role.startswith("rollouts-") and body.expires - now < ONLINE_LIFE / 2
            }
            commit(self.folder, current, Change(roles=roles), keys, now, self._disk)
        return True

    def metadata(self) -> dict[str, bytes]:
        """Return all that goes to the `trust/` topics, in the order of publishing: `timestamp.json` and `head` last.

        Every root, and the last two versions of the rest, so that a device half way through the one before can finish.
        """
        current = self.current()
        roots = sum(name.endswith(".root.json") for name in current.files)
        out: dict[str, bytes] = {}
        # What refers to others comes after them: roots and roles, then the snapshot, then the timestamp.
        for name in sorted(current.files, key=lambda name: name.endswith(".snapshot.json")):
            data = current.files[name]
            number, _, role = name.partition(".")
            if name == "timestamp.json":
                continue
            if not name.endswith(".root.json"):
                for older in range(max(1, int(number) - KEPT_VERSIONS + 1), int(number)):
                    path = self.folder / METADATA / f"{older}.{role}"
                    if path.is_file():
                        out[path.name] = path.read_bytes()
            out[name] = data
        out["timestamp.json"] = current.files["timestamp.json"]
        out["head"] = json.dumps({"root": roots}).encode()
        return out

    def targets(self) -> dict[str, bytes]:
        """Return what the current rollouts need, by SHA-256: key list, rollout documents, and manifests they name.

        What is missing or rotten is left out and logged: the rest of the fleet must go on. See `rotten`.
        """
        return self._gather()[0]

    def rotten(self) -> tuple[str, ...]:
        """Return, in words, what `targets` had to leave out."""
        return self._gather()[1]

    def _gather(self) -> tuple[dict[str, bytes], tuple[str, ...]]:
        current = self.current()
        out: dict[str, bytes] = {}
        bad: dict[str, None] = {}

        def take(sha256: str, what: str) -> bytes | None:
            try:
                out[sha256] = read_target(self.folder, sha256)
            except TrustError as error:
                LOG.warning("%s is not published: %s", what, error)
                bad[f"{what}: {error}"] = None
                return None
            return out[sha256]

        key_list = current.roles[KEYS_ROLE].targets.get(COMMAND_KEYS_PATH)
        if key_list is not None:
            take(digest(key_list), "the list of command keys")
        for region in self._regions:
            target = self._rollout_target(current, region)
            if target is None:
                continue
            document = take(digest(target), f"the rollout of {region}")
            if document is None:
                continue
            for assignment in codec.decode(document, Rollout, limit=ROLLOUT_LIMIT).assignments:
                take(assignment.release.sha256, f"the manifest at {assignment.release.path}")
        return out, tuple(bad)

    def chunk(self, sha256: str) -> bytes | None:
        """Return the payload of a chunk as it travels, or None when the repository lacks it."""
        if not is_sha256(sha256):
            return None
        try:
            return (self.folder / CHUNKS / sha256).read_bytes()
        except FileNotFoundError:
            return None

    def version_stamp(self) -> str:
        """Return a text that differs whenever anything to publish differs. Costs one small read."""
        return sha256_hex((self.folder / METADATA / "timestamp.json").read_bytes())[:32]

    def _rollout_target(self, current: Current, region: str) -> TargetFile | None:
        role = current.roles.get(rollouts_role(region))
        return role.targets.get(rollout_path(region)) if role is not None else None

    def _next(
        self, current: Current, role: str, targets: dict[str, TargetFile], keys: OnlineKeys, now: datetime
    ) -> bytes:
        body = Targets(
            version=current.roles[role].version + 1, expires=whole_seconds(now) + life(role), targets=dict(targets)
        )
        return sign(Metadata(body), [keys.signer(role, current.delegated(role).keyids)])

    def _check(self, current: Current, rollout: Rollout) -> None:
        if rollouts_role(rollout.region) not in current.roles:
            raise BreaksRule(
                f"there is no region {rollout.region}: this repository has {', '.join(self._regions)}. "
                "A region is added by the holders of the root key"
            )
        listed = current.releases()
        for assignment in rollout.assignments:
            name = release_of_path(assignment.release.path)
            if name not in listed:
                raise BreaksRule(
                    f"{name} is not listed, so no device would take it. Listed: {', '.join(listed) or '-'}"
                )
            if listed[name].sha256 != assignment.release.sha256:
                raise BreaksRule(
                    f"{name} is listed with digest {listed[name].sha256[:12]} and the rollout names "
                    f"{assignment.release.sha256[:12]}"
                )
            if name.partition("/")[0] != assignment.model:
                raise BreaksRule(f"the assignment is for model {assignment.model} and names {name}")
        before = self._rollout_target(current, rollout.region)
        if before is not None:
            last = codec.decode(read_target(self.folder, digest(before)), Rollout, limit=ROLLOUT_LIMIT).serial
            if rollout.serial <= last:
                raise BreaksRule(f"the rollout has serial {rollout.serial} and {rollout.region} is at {last}: count up")

    def _old(self, current: Current, now: datetime) -> bool:
        issued = last_issued(current)
        return issued is None or issued <= signing_time(current, now) - REFRESH_AFTER
