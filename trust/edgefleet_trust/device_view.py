"""What a new device would say to a set of metadata: python-tuf's own client, from root 1, before anything is published."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edgefleet_protocol import trust

from .errors import BreaksRule

LIMITS = UpdaterConfig(
    max_root_rotations=trust.MAX_ROOT_ROTATIONS,
    max_delegations=trust.MAX_DELEGATIONS,
    root_max_length=trust.ROOT_LIMIT,
    timestamp_max_length=trust.TIMESTAMP_LIMIT,
    snapshot_max_length=trust.SNAPSHOT_LIMIT,
    targets_max_length=trust.TARGETS_LIMIT,
)


class _Files(FetcherInterface):
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix("metadata:/")
        if name not in self._files:
            raise DownloadHTTPError(f"{name} is not among the files", 404)
        return iter((self._files[name],))


def device_view(
    files: Mapping[str, bytes], paths: Mapping[str, str | None], before: Mapping[str, bytes] | None = None
) -> dict[str, TargetFile | None]:
    """Return what a device that knows only root 1 finds at each of `paths`.

    files: metadata by published name. paths: target path to the SHA-256 that must be found there, None for any or none.
    before: the state that devices have seen; one of those must accept `files` too, with all that it remembers.
    Raises BreaksRule, with the client's words, when either would refuse anything.
    """
    found = _look(files, paths, None)
    if before is not None:
        _look(files, paths, before)
    for path, want in paths.items():
        target = found[path]
        got = target.hashes.get("sha256") if target is not None else None
        if want is not None and got != want:
            raise BreaksRule(f"a device would find {got or 'nothing'} at {path}, not {want}")
    return found


def _look(
    files: Mapping[str, bytes], paths: Mapping[str, str | None], before: Mapping[str, bytes] | None
) -> dict[str, TargetFile | None]:
    with tempfile.TemporaryDirectory(prefix="edgefleet-view-") as folder:
        if before is not None:
            # What has expired meanwhile is no longer believed, and what came before it is remembered all the same.
            with contextlib.suppress(RepositoryError, DownloadError):
                client = _client(folder, before)
                client.refresh()
                for path in paths:
                    client.get_targetinfo(path)
        try:
            client = _client(folder, files)
            client.refresh()
            return {path: client.get_targetinfo(path) for path in paths}
        except (RepositoryError, DownloadError) as error:
            who = (
                "a device would refuse this" if before is None else "a device that saw the last state would refuse this"
            )
            raise BreaksRule(f"{who} ({type(error).__name__}): {error}") from error


def _client(folder: str, files: Mapping[str, bytes]) -> Updater:
    return Updater(folder, "metadata:/", fetcher=_Files(files), config=LIMITS, bootstrap=files["1.root.json"])
