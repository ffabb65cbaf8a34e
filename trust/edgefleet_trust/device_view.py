"""What a new device would say to a set of metadata: python-tuf's own client, from root 1, before anything is published."""

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


def device_view(files: Mapping[str, bytes], paths: Mapping[str, str | None]) -> dict[str, TargetFile | None]:
    """Return what a device that knows only root 1 finds at each of `paths`.

    files: metadata by published name. paths: target path to the SHA-256 that must be found there, None for any or none.
    Raises BreaksRule, with the client's words, when it would refuse anything.
    """
    with tempfile.TemporaryDirectory(prefix="edgefleet-view-") as folder:
        try:
            updater = Updater(
                folder, "metadata:/", fetcher=_Files(files), config=LIMITS, bootstrap=files["1.root.json"]
            )
            updater.refresh()
            found = {path: updater.get_targetinfo(path) for path in paths}
        except (RepositoryError, DownloadError) as error:
            raise BreaksRule(f"a device would refuse this ({type(error).__name__}): {error}") from error
    for path, want in paths.items():
        target = found[path]
        got = target.hashes.get("sha256") if target is not None else None
        if want is not None and got != want:
            raise BreaksRule(f"a device would find {got or 'nothing'} at {path}, not {want}")
    return found
