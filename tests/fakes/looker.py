"""A looker without signatures that gives the same results: what a hub put into retained topics is what it believes.

The fake timestamp is JSON: `{version, rollouts: {region: sha256}, releases: {path: sha256}, keys: [...]}`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import msgspec

from edgefleet_agent.seams import Looked, LookRequest, Memory, Missing, Refused
from edgefleet_protocol.rollout import Rollout
from edgefleet_protocol.trust import PublicKey


@dataclass
class FakeLooker:
    """Checks versions against the rollback memory, digests, and that the offline hand lists what is wished."""

    looks: int = 0
    requests: list[LookRequest] = field(default_factory=list)

    def look(self, request: LookRequest) -> Looked | Missing | Refused:
        self.looks += 1
        stamp = json.loads(request.held.get("timestamp.json") or request.cache["timestamp.json"])
        version = stamp["version"]
        if version < request.memory.versions.get("timestamp", 0):
            return Refused(f"timestamp {version} is older than {request.memory.versions['timestamp']}: a replay")
        if stamp.get("not_before", 0) > request.now.timestamp():
            return Refused("the clock: it is before the release of this metadata")
        snapshot = f"{version}.snapshot.json"
        if snapshot not in request.held and request.cache.get("snapshot") != snapshot.encode():
            return Missing(metadata=(snapshot,))
        wanted = stamp["rollouts"].get(request.region or "")
        if wanted is None:
            return self._looked(request, stamp, None, {}, {})
        if wanted not in request.targets:
            return Missing(targets=(wanted,))
        rollout = msgspec.json.decode(request.targets[wanted], type=Rollout)
        listed: Mapping[str, str] = stamp["releases"]
        refs = {row.release.path: row.release.sha256 for row in rollout.assignments}
        refused = {
            path: "the offline hand does not list it" for path, sha256 in refs.items() if listed.get(path) != sha256
        }
        names = {sha256 for path, sha256 in refs.items() if path not in refused}
        missing = tuple(sorted(names - set(request.targets)))
        if missing:
            return Missing(targets=missing)
        manifests = {name: request.targets[name] for name in names}
        return self._looked(request, stamp, request.targets[wanted], manifests, refused)

    def _looked(
        self,
        request: LookRequest,
        stamp: dict[str, object],
        rollout: bytes | None,
        manifests: Mapping[str, bytes],
        refused: Mapping[str, str],
    ) -> Looked:
        version = stamp["version"]
        assert isinstance(version, int)
        keys = msgspec.convert(stamp["keys"], tuple[PublicKey, ...])
        listed = {path: {"hashes": {"sha256": sha256}} for path, sha256 in stamp["releases"].items()}  # type: ignore[attr-defined]
        cache = {
            "timestamp.json": json.dumps(stamp).encode(),
            "snapshot": f"{version}.snapshot.json".encode(),
            "releases.json": json.dumps({"signed": {"targets": listed}}).encode(),
        }
        memory = Memory(versions={"timestamp": version})
        expires = datetime.fromtimestamp(stamp["expires"], timezone.utc) if "expires" in stamp else None  # type: ignore[arg-type]
        return Looked(cache, memory, {"timestamp": version}, keys, rollout, manifests, refused, expires)
