"""What may be obeyed: python-tuf's client over what came from the broker, then the checks that it cannot make.

Pure but for a throw-away folder: the client's metadata cache is laid out there from `request.cache` and read back into
`Looked.cache`, so that its own way of writing (no fsync, a symlink that is not replaced atomically) never matters. The
anchor is always the packaged root; a torn or foreign cache can cost a download and nothing else.

**Time.** The client takes the system clock when it is made and has no public hook for another, and it is not patched
here. It judges expiry by the system clock; then this module judges every role again by the later of `request.now` and
the newest signed time. On a device both clocks are the same, and the two judgements together are "expired at
max(clock, floor)". In a test or a simulation `request.now` may be any time before or after, 1970 too, as long as the
metadata has not expired by the clock of the machine that runs it: simulated worlds lie in the present or the future.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edgefleet_protocol import codec
from edgefleet_protocol import trust as limits
from edgefleet_protocol.errors import BadName, ProtocolError
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.release_check import check_release
from edgefleet_protocol.rollout import Assignment, Rollout
from edgefleet_protocol.trust import (
    COMMAND_KEYS_PATH,
    ISSUED_FIELD,
    KEYS_ROLE,
    RELEASES_ROLE,
    KeyList,
    PublicKey,
    release_of_path,
    rollout_path,
    rollouts_role,
)

from . import __version__
from .look_memory import Rejected, SignedRole, judge, parse_issued
from .seams import Looked, LookRequest, Missing, Refused

HEAD = "head"
_CACHED = re.compile(r"^(?:[1-9][0-9]{0,9}\.root|[a-z0-9-]{1,80})\.json\Z")
_ROOT = re.compile(r"^[1-9][0-9]{0,9}\.root\.json\Z")
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

D = TypeVar("D", bound=codec.Document)


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
        try:
            return _Look(request, Path(folder)).run()
        except _NotHeld as missing:
            return Missing(metadata=missing.names)
        except _TargetsNotHeld as missing:
            return Missing(targets=missing.names)
        except Rejected as error:
            return Refused(str(error))
        except (RepositoryError, DownloadLengthMismatchError) as error:
            word = next((word for kind, word in _WORDS if isinstance(error, kind)), "broken")
            return Refused(f"{word}: {error}")


class _NotHeld(DownloadError):
    """Metadata that did not come yet. A DownloadError, for the client lets only those through unchanged."""

    def __init__(self, *names: str) -> None:
        super().__init__(", ".join(names))
        self.names = names


class _TargetsNotHeld(Exception):
    """Targets that did not come yet."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class _Held(FetcherInterface):
    """Serves what is held. `head` tells that a root does not exist, which a broker cannot say."""

    def __init__(self, held: Mapping[str, bytes], head: int) -> None:
        self._held, self._head = held, head

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix("trust:/")
        if name in self._held:
            return iter((self._held[name],))
        if _ROOT.match(name) and int(name.partition(".")[0]) > self._head:
            raise DownloadHTTPError(f"{name} does not exist", 404)
        raise _NotHeld(name)


class _Look:
    """One look. The client can refresh only once, so each look has a client of its own."""

    def __init__(self, request: LookRequest, folder: Path) -> None:
        self.request = request
        self.meta = folder
        self.passed: dict[str, SignedRole] = {}

    def run(self) -> Looked:
        request = self.request
        head = self._head()
        self._lay_out_cache()
        updater = Updater(
            str(self.meta), "trust:/", fetcher=_Held(request.held, head), config=_CONFIG, bootstrap=request.root
        )
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
        except _NotHeld as missing:
            raise _NotHeld(*self._all_missing(missing.names)) from None
        memory = judge(list(self.passed.values()), request.memory, request.now)
        manifests, refused = self._manifests(listed)
        return Looked(
            cache=self._read_cache(),
            memory=memory,
            versions={role.name: role.version for role in self.passed.values()},
            command_keys=keys,
            rollout=rollout_data,
            manifests=manifests,
            refused_releases=refused,
        )

    # What came

    def _head(self) -> int:
        """Return the number of the newest root; raise for all of the first round that is not held."""
        held = self.request.held
        missing = [name for name in (HEAD, "timestamp.json") if name not in held]
        head = 0
        if HEAD in held:
            head = _parse_head(held[HEAD])
            first = Metadata[Root].from_bytes(self.request.root).signed.version
            for number in range(first + 1, min(head, first + limits.MAX_ROOT_ROTATIONS) + 1):
                name = f"{number}.root.json"
                if name not in held and name not in self.request.cache:
                    missing.append(name)
        if missing:
            raise _NotHeld(*missing)
        return head

    def _all_missing(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return `names` and whatever else will be asked for, once the snapshot that says so has been verified."""
        if names[0] == "timestamp.json" or names[0].endswith((".root.json", ".snapshot.json")):
            return names
        snapshot = self._read("snapshot").signed
        wanted = ["targets", KEYS_ROLE, RELEASES_ROLE]
        if self.request.region is not None:
            wanted.append(rollouts_role(self.request.region))
        out = dict.fromkeys(names)
        for role in wanted:
            meta = snapshot.meta.get(f"{role}.json")
            if meta is None or f"{meta.version}.{role}.json" in self.request.held:
                continue
            if self._cached_version(role) != meta.version:
                out[f"{meta.version}.{role}.json"] = None
        return tuple(out)

    def _cached_version(self, role: str) -> int | None:
        try:
            return int(Metadata[Targets].from_bytes(self.request.cache[f"{role}.json"]).signed.version)
        except (KeyError, RepositoryError):
            return None

    # The cache

    def _lay_out_cache(self) -> None:
        (self.meta / "root_history").mkdir()
        for name, data in self.request.cache.items():
            if _ROOT.match(name):
                (self.meta / "root_history" / name).write_bytes(data)
            elif _CACHED.match(name) and name != "root.json":
                (self.meta / name).write_bytes(data)

    def _read_cache(self) -> dict[str, bytes]:
        """Return what the client verified in this look, and nothing else that lay there."""
        newest = self.passed["root"].version
        out = {}
        for path in sorted((self.meta / "root_history").iterdir()):
            if _ROOT.match(path.name) and int(path.name.partition(".")[0]) <= newest:
                out[path.name] = path.read_bytes()
        for role in self.passed:
            if role != "root" and _CACHED.match(f"{role}.json"):
                out[f"{role}.json"] = (self.meta / f"{role}.json").read_bytes()
        return out

    def _read(self, role: str) -> Metadata[Any]:
        """Return metadata that the client verified in this look: a file that it did not ask for may be anything."""
        return Metadata.from_file(str(self.meta / f"{quote(role, '')}.json"))

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
                digest = _digest(info)
                if info.length > limit:
                    raise Rejected(f"{info.path} has {info.length} bytes and the limit is {limit}")
                data = self.request.targets.get(digest)
                if data is None:
                    missing.append(digest)
                else:
                    info.verify_length_and_hashes(data)
            out.append(data)
        if missing:
            raise _TargetsNotHeld(tuple(dict.fromkeys(missing)))
        return out

    # Documents

    def _command_keys(self, data: bytes | None) -> tuple[PublicKey, ...]:
        return _decode(data, KeyList, _KEY_LIST_LIMIT).keys if data is not None else ()

    def _rollout(self, data: bytes | None) -> Rollout | None:
        if data is None:
            return None
        rollout = _decode(data, Rollout, limits.ROLLOUT_LIMIT)
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
            out[path] = _both_hands(assignment, self._find(updater, targets, path))
        return out

    def _manifests(self, listed: Mapping[str, TargetFile | str]) -> tuple[dict[str, bytes], dict[str, str]]:
        """Return the manifests that may be obeyed by SHA-256, and the other releases by path with the reason."""
        refused = {path: entry for path, entry in listed.items() if isinstance(entry, str)}
        entries = [entry for entry in listed.values() if not isinstance(entry, str)]
        bodies = self._held_targets(*((entry, limits.MANIFEST_LIMIT) for entry in entries))
        manifests = {}
        for entry, data in zip(entries, bodies, strict=True):
            assert data is not None  # _held_targets raises for what is not held
            reason = _odd_manifest(entry.path, data)
            if reason is None:
                manifests[_digest(entry)] = data
            else:
                refused[entry.path] = reason
        return manifests, refused


def _both_hands(assignment: Assignment, info: TargetFile | None) -> TargetFile | str:
    """Return `info` when the online hand's choice is what the offline hand listed, else the reason why not."""
    name = release_of_path(assignment.release.path)
    if name.partition("/")[0] != assignment.model:
        return f"{name} is no release of {assignment.model}, for which the rollout names it"
    if info is None:
        return f"{name} is not listed by the holders of the release keys: never released, or withdrawn"
    if _digest(info) != assignment.release.sha256:
        return (
            f"{name} is listed with the digest {_digest(info)[:12]} and the rollout names "
            f"{assignment.release.sha256[:12]}"
        )
    if info.length > limits.MANIFEST_LIMIT:
        return f"{name} has a manifest of {info.length} bytes and the limit is {limits.MANIFEST_LIMIT}"
    return info


def _odd_manifest(path: str, data: bytes) -> str | None:
    """Return why a manifest that the offline hand signed is still not to be obeyed, or None."""
    name = release_of_path(path)
    try:
        release = codec.decode(data, Release, agent_version=__version__, limit=limits.MANIFEST_LIMIT)
        check_release(release)
    except ProtocolError as error:
        return f"{name}: {error}"
    return None if release.name == name else f"{name} is listed, and its manifest is that of {release.name}"


def _digest(info: TargetFile) -> str:
    digest = info.hashes.get("sha256")
    if digest is None:
        raise Rejected(f"{info.path} is signed without a SHA-256")
    return str(digest)


def _decode(data: bytes, kind: type[D], limit: int) -> D:
    try:
        return codec.decode(data, kind, agent_version=__version__, limit=limit)
    except ProtocolError as error:
        raise Rejected(f"signed, but not to be used here: {error}") from error


def _parse_head(data: bytes) -> int:
    """Return the number in `head`, an unsigned hint: lying with it is no more than withholding a root."""
    try:
        number = json.loads(data[:1000])["root"]
        if type(number) is not int or not 1 <= number < 10**9:
            raise ValueError(number)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Rejected(f"head must be {{'root': NUMBER}} and is {data[:40]!r}") from error
    return number
