"""`edgefleet release export`: a release as plain files, with what other people's tools verify them by."""

from pathlib import Path

from edgefleet_protocol.manifest import Release

from .contents import assemble
from .current import read_target
from .errors import NotThere
from .files import check_empty
from .repository import Repository

ATTESTATIONS = "attestations"
"""In the repository: `<model>-<number>.model.sig`, `.provenance.json` and `.holder.pem`."""


def attestation_names(model: str, version: int, names: tuple[str, ...]) -> dict[str, str]:
    """Return where each exported file lies below `attestations/`."""
    return {name: f"{model}-{version}.{name}" for name in names}


def beside(release: Release, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return a release's attestations by their path in the repository."""
    names = attestation_names(release.model, release.version, tuple(files))
    return {f"{ATTESTATIONS}/{names[name]}": data for name, data in files.items()}


def export(repository: Repository, name: str, out: Path) -> list[str]:
    """Write the release `name` to the new folder `out`; return the names of the files in it.

    `out/model/` has the release's files, and beside it lie the manifest, `model.sig`, `holder.pem` and `provenance.json`,
    as far as the holders signed them. Raises NotThere for a release that is not listed.
    """
    listed = repository.releases()
    if name not in listed:
        raise NotThere(f"{name} is not listed. Listed: {', '.join(sorted(listed)) or 'nothing'}")
    check_empty(out)
    release, _ = repository.manifest(listed[name])
    files = {f"model/{entry.name}": assemble(entry, repository.chunk) for entry in release.files}
    files["manifest.json"] = read_target(repository.folder, listed[name].sha256)
    names = attestation_names(release.model, release.version, ("model.sig", "holder.pem", "provenance.json"))
    for plain, kept in names.items():
        path = repository.folder / ATTESTATIONS / kept
        if path.is_file():
            files[plain] = path.read_bytes()
    for file, data in files.items():
        place = out / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return sorted(files)
