"""What may be obeyed: python-tuf's client over what came from the broker, then the checks that it cannot make.

Pure but for a throw-away folder (`look_cache`). The anchor is always the packaged root; a torn or foreign cache can cost
a download and nothing else. A root that was verified is told whatever became of the rest, so that what it revoked stays
revoked.

**Time.** The client takes the system clock when it is made and has no public hook for another, and it is not patched
here. It judges expiry by the system clock; then `look_memory` judges every role again by the later of `request.now` and
the newest signed time. On a device both clocks are the same, and the two judgements together are "expired at
max(clock, floor)". In a test or a simulation `request.now` may be any time before or after, 1970 too, as long as the
metadata has not expired by the clock of the machine that runs it: simulated worlds lie in the present or the future.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig

from edgefleet_protocol import trust as limits
from edgefleet_protocol.errors import BadName
from edgefleet_protocol.rollout import Rollout
from edgefleet_protocol.trust import (
    COMMAND_KEYS_PATH,
    ISSUED_FIELD,
    KeyList,
    PublicKey,
    release_of_path,
    rollout_path,
)

from . import look_cache
from .look_hands import both_hands, digest, document, odd_manifest
from .look_held import URL, Held, NotHeld, TargetsNotHeld, root_number
from .look_memory import Rejected, SignedRole, judge, parse_issued
from .look_wanted import all_missing, newest_root
from .seams import Looked, LookRequest, Missing, Refused

_CONFIG = UpdaterConfig(
    max_root_rotations=limits.MAX_ROOT_ROTATIONS,
    max_delegations=limits.MAX_DELEGATIONS,
    root_max_length=limits.ROOT_LIMIT,
    timestamp_max_length=limits.TIMESTAMP_LIMIT,
    snapshot_max_length=limits.SNAPSHOT_LIMIT,
    targets_max_length=limits.TARGETS_LIMIT,
)
_KEY_LIST_LIMIT = 64_000
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (ExpiredMetadataError, "expired"),
    (BadVersionNumberError, "rollback"),
    (UnsignedMetadataError, "not signed by enough of the right keys"),
    (LengthOrHashMismatchError, "not the bytes that were signed"),
    (DownloadLengthMismatchError, "longer than it may be"),
)


class InProcessLooker:
    """Looks in this process, for tests, simulations and the child."""

    def __init__(self, scratch_root: Path) -> None:
        self._scratch = scratch_root

    def look(self, request: LookRequest) -> Looked | Missing | Refused:
        """Return what may be obeyed."""
        return look(request, self._scratch)


def look(request: LookRequest, scratch: Path) -> Looked | Missing | Refused:
    """Return what may be obeyed, what must be fetched first, or why nothing is believed.

    scratch: an existing folder for temporary files, on a file system with symlinks. Raises OSError when it is full; any
    other exception is a bug.
    """
    with tempfile.TemporaryDirectory(prefix="look-", dir=scratch) as folder:
        one = _Look(request, Path(folder))
        try:
            return one.run()
        except NotHeld as missing:
            return Missing(metadata=missing.names, roots=one.newer_roots())
        except TargetsNotHeld as missing:
            return Missing(targets=missing.names, roots=one.newer_roots())
        except Rejected as error:
            return Refused(str(error), roots=one.newer_roots())
        except (RepositoryError, DownloadLengthMismatchError) as error:
            word = next((word for kind, word in _WORDS if isinstance(error, kind)), "broken")
            return Refused(f"{word}: {error}", roots=one.newer_roots())


class _Look:
    """One look. The client can refresh only once, so each look has a client of its own."""

    def __init__(self, request: LookRequest, folder: Path) -> None:
        self.request = request
        self.meta = folder
        self.passed: dict[str, SignedRole] = {}

    def run(self) -> Looked:
        request = self.request
        head = newest_root(request)
        look_cache.lay_out(self.meta, request.cache)
        updater = Updater(str(self.meta), URL, fetcher=Held(request.held, head), config=_CONFIG, bootstrap=request.root)
        try:
            updater.refresh()
            targets = self._judge_top()
            key_info = self._find(updater, targets, COMMAND_KEYS_PATH)
            path = rollout_path(request.region) if request.region is not None else None
            rollout_info = self._find(updater, targets, path) if path is not None else None
            judge(list(self.passed.values()), request.memory, request.now)
            key_data, rollout_data = self._held_targets(
                (key_info, _KEY_LIST_LIMIT), (rollout_info, limits.ROLLOUT_LIMIT)
            )
            keys = self._command_keys(key_data)
            rollout = self._rollout(rollout_data)
            listed = self._listed(updater, targets, rollout) if rollout is not None else {}
        except NotHeld as missing:
            raise NotHeld(*self._all_missing(missing.names)) from None
        memory = judge(list(self.passed.values()), request.memory, request.now)
        manifests, refused = self._manifests(listed)
        return Looked(
            cache=look_cache.read_back(self.meta, self.passed),
            memory=memory,
            versions={role.name: role.version for role in self.passed.values()},
            command_keys=keys,
            rollout=rollout_data,
            manifests=manifests,
            refused_releases=refused,
            expires=min(role.expires for role in self.passed.values()),
        )

    def _read(self, role: str) -> Metadata[Any]:
        return look_cache.read(self.meta, role)

    def _all_missing(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return `names` and whatever else will be asked for, once the snapshot that says so has been verified."""
        if names[0] == "timestamp.json" or names[0].endswith((".root.json", ".snapshot.json")):
            return names
        listed = {name: meta.version for name, meta in self._read("snapshot").signed.meta.items()}
        return all_missing(self.request, listed, names)

    def newer_roots(self) -> dict[str, bytes]:
        """Return the chain of roots that this look verified, when it is longer than what is remembered."""
        chain = look_cache.roots(self.meta)
        return chain if len(chain) and _newest(chain) > self.request.memory.versions.get("root", 0) else {}

    # Roles and targets

    def _judge_top(self) -> Targets:
        """Judge the four top-level roles before anything that they delegate to is fetched; return targets."""
        root: Root = self._read("root").signed
        for role in ("root", "timestamp", "snapshot", "targets"):
            self._pass(role, self._read(role).signed, root.roles[role].keyids)
        judge(list(self.passed.values()), self.request.memory, self.request.now)
        targets: Targets = self._read("targets").signed
        if targets.targets:
            raise Rejected("the role targets lists targets of its own; it may only say who signs which paths")
        if targets.delegations is not None and targets.delegations.roles is None:
            raise Rejected("the role targets delegates by hash bins, which this agent does not follow")
        return targets

    def _pass(self, role: str, signed: Any, keyids: list[str]) -> None:
        issued = (
            parse_issued(role, signed.unrecognized_fields.get(ISSUED_FIELD)) if role in ("root", "timestamp") else None
        )
        self.passed[role] = SignedRole(role, signed.version, signed.expires, tuple(sorted(keyids)), issued)

    def _find(self, updater: Updater, targets: Targets, path: str) -> TargetFile | None:
        """Return the target at `path`, and note the role that says so; None when nobody may sign or nothing is signed."""
        delegated = targets.delegations.roles if targets.delegations is not None else None
        owner = next((role for role in (delegated or {}).values() if role.is_delegated_path(path)), None)
        if owner is None:
            return None
        if not owner.terminating:
            raise Rejected(f"{path} is delegated to {owner.name} and on to others; one hand must have the last word")
        info = updater.get_targetinfo(path)
        if owner.name not in self.passed:
            signed: Targets = self._read(owner.name).signed
            if signed.delegations is not None:
                raise Rejected(f"{owner.name} lets others sign for it, which this agent does not follow")
            self._pass(owner.name, signed, owner.keyids)
        return info

    def _held_targets(self, *wanted: tuple[TargetFile | None, int]) -> list[bytes | None]:
        """Return the bytes of each target, verified; raise for all that are not held."""
        missing, out = [], []
        for info, limit in wanted:
            data = None
            if info is not None:
                sha256 = digest(info)
                if info.length > limit:
                    raise Rejected(f"{info.path} has {info.length} bytes and the limit is {limit}")
                data = self.request.targets.get(sha256)
                if data is None:
                    missing.append(sha256)
                else:
                    info.verify_length_and_hashes(data)
            out.append(data)
        if missing:
            raise TargetsNotHeld(tuple(dict.fromkeys(missing)))
        return out

    # Documents

    def _command_keys(self, data: bytes | None) -> tuple[PublicKey, ...]:
        return document(data, KeyList, _KEY_LIST_LIMIT).keys if data is not None else ()

    def _rollout(self, data: bytes | None) -> Rollout | None:
        if data is None:
            return None
        rollout = document(data, Rollout, limits.ROLLOUT_LIMIT)
        if rollout.region != self.request.region:
            raise Rejected(f"the rollout is for {rollout.region!r} and this device is in {self.request.region!r}")
        return rollout

    def _listed(self, updater: Updater, targets: Targets, rollout: Rollout) -> dict[str, TargetFile | str]:
        """Return, for each release path that the rollout names, its entry in the offline list, or why it is refused."""
        out: dict[str, TargetFile | str] = {}
        for assignment in rollout.assignments:
            path = assignment.release.path
            if isinstance(out.get(path), str):
                continue
            try:
                release_of_path(path)
            except BadName as error:
                out[path] = str(error)
                continue
            out[path] = both_hands(assignment, self._find(updater, targets, path))
        return out

    def _manifests(self, listed: Mapping[str, TargetFile | str]) -> tuple[dict[str, bytes], dict[str, str]]:
        """Return the manifests that may be obeyed by SHA-256, and the other releases by path with the reason."""
        refused = {path: entry for path, entry in listed.items() if isinstance(entry, str)}
        entries = [entry for entry in listed.values() if not isinstance(entry, str)]
        bodies = self._held_targets(*((entry, limits.MANIFEST_LIMIT) for entry in entries))
        manifests = {}
        for entry, data in zip(entries, bodies, strict=True):
            assert data is not None  # _held_targets raises for what is not held
            reason = odd_manifest(entry.path, data)
            if reason is None:
                manifests[digest(entry)] = data
            else:
                refused[entry.path] = reason
        return manifests, refused


def _newest(roots: Mapping[str, bytes]) -> int:
    return max(map(root_number, roots))
