"""A proposal: one file that holds everything a key holder must see before signing, and nothing that must be believed.

A zip without compression, so that its size is its contents' size:
`manifest.json`, the release as devices will read it; `releases.json`, the next list of releases with the signatures so
far; `base/…`, the metadata that it builds on (every root, targets and the current list); `chunks/<sha256>`.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets

from edgefleet_protocol import codec
from edgefleet_protocol.chunks import MAX_PAYLOAD_BYTES
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import MAX_CHUNKS, Release
from edgefleet_protocol.release_check import check_release
from edgefleet_protocol.trust import MANIFEST_LIMIT, ROOT_LIMIT, TARGETS_LIMIT, release_path

from .attest import MAX_PROVENANCE_BYTES, check_provenance
from .contents import assemble, check_models
from .errors import BadProposal, NotThere, TrustError
from .files import Disk, open_regular
from .numbers import last_numbers
from .roles import NUMBERS_FIELD

MANIFEST, RELEASES = "manifest.json", "releases.json"
PROVENANCE, ATTESTATIONS = "provenance.json", "attestations.json"
BASE_TARGETS, BASE_RELEASES = "base/targets.json", "base/releases.json"
_ROOT = re.compile(r"^base/([1-9][0-9]{0,3})\.root\.json\Z")
_CHUNK = re.compile(r"^chunks/([0-9a-f]{64})\Z")
_LIMITS = {MANIFEST: MANIFEST_LIMIT, RELEASES: TARGETS_LIMIT, BASE_TARGETS: TARGETS_LIMIT, BASE_RELEASES: TARGETS_LIMIT}
_OPTIONAL = {PROVENANCE: MAX_PROVENANCE_BYTES, ATTESTATIONS: MAX_PROVENANCE_BYTES}
LONGEST_LIFE = timedelta(days=400)
"""A list that is valid for much longer than a year would take the holders' yearly look at it away."""
MAX_ENTRIES = 2 * MAX_CHUNKS


@dataclass(frozen=True)
class Proposal:
    """The bytes of a proposal, not yet judged."""

    manifest: bytes
    releases: bytes
    roots: tuple[bytes, ...]
    """From root 1, in order."""
    targets: bytes
    base: bytes
    """The list of releases that this one follows."""
    chunks: Mapping[str, bytes]
    provenance: bytes = b""
    """An in-toto statement of where it comes from; empty where there is none."""
    attestations: bytes = b""
    """The holders' signatures over the model and its provenance, for other people's tools."""

    def release(self) -> Release:
        """Return the release that is proposed; raise BadProposal when the manifest is none."""
        try:
            release = codec.decode(self.manifest, Release, limit=MANIFEST_LIMIT)
            check_release(release)
        except ProtocolError as error:
            raise BadProposal(f"the manifest cannot be released: {error}") from error
        return release

    def next(self) -> Metadata[Targets]:
        """Return the proposed list of releases, with the signatures so far."""
        return _list_of(self.releases, "proposed")

    def current(self) -> Metadata[Targets]:
        """Return the list that the proposal builds on."""
        return _list_of(self.base, "current")

    def with_releases(self, signed: bytes) -> "Proposal":
        """Return the same with other signatures."""
        return replace(self, releases=signed)


def check_contents(proposal: Proposal) -> Release:
    """Return the release, after checking it down to the last byte; raise BadProposal for anything that is not right."""
    release = proposal.release()
    if release.version < 1 or any(entry.bytes and not entry.chunks for entry in release.files):
        raise BadProposal(f"{release.name} is not numbered and cut: make the file with `edgefleet release propose`")
    try:
        files = {entry.name: assemble(entry, proposal.chunks.get) for entry in release.files}
        check_models(release, files.__getitem__)
        if proposal.provenance:
            check_provenance(proposal.provenance, release, proposal.manifest)
    except TrustError as error:
        raise BadProposal(f"{release.name}: {error}. Do not sign it; ask who made the file") from error
    return release


def check_step(proposal: Proposal, release: Release, now: datetime) -> None:
    """Raise BadProposal unless the proposed list is the current one, one version on, with this one release more."""
    new, old = proposal.next().signed, proposal.current().signed
    if not now < new.expires <= now + LONGEST_LIFE:
        raise BadProposal(
            f"the proposed list of releases would be valid until {new.expires:%Y-%m-%d}; it must be later than now and "
            f"at most {LONGEST_LIFE.days} days away: propose the folder anew"
        )
    if new.version != old.version + 1:
        raise BadProposal(f"the list of releases goes from version {old.version} to {new.version}, not one on")
    numbers = last_numbers(old)
    if (last := numbers.get(release.model, 0)) >= release.version:
        raise BadProposal(
            f"{release.name} is listed already, or was: {release.model} is at {last} and a number is given once. Propose "
            "the folder again for the next number"
        )
    if new.delegations is not None or new.unrecognized_fields != {
        NUMBERS_FIELD: {**numbers, release.model: release.version}
    }:
        raise BadProposal("the proposed list of releases says more than which releases there are")
    path = release_path(release.name)
    want = {
        **{path: file.to_dict() for path, file in old.targets.items()},
        path: release_target(release, proposal.manifest).to_dict(),
    }
    got = {path: file.to_dict() for path, file in new.targets.items()}
    if got != want:
        odd = sorted(name for name in {*got, *want} if got.get(name) != want.get(name))
        raise BadProposal(f"besides adding {release.name} the proposal changes the entries {', '.join(odd)}")


def release_target(release: Release, manifest: bytes) -> TargetFile:
    """Return the entry by which a release is listed."""
    target = TargetFile.from_data(release_path(release.name), manifest, ["sha256"])
    target.unrecognized_fields["custom"] = {
        "model": release.model,
        "version": release.version,
        "minimum_agent": release.minimum_agent,
    }
    return target


def write_proposal(path: Path, proposal: Proposal, disk: Disk) -> None:
    """Write the proposal to `path`, whole or not at all."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        entries = {MANIFEST: proposal.manifest, RELEASES: proposal.releases}
        entries |= {f"base/{number}.root.json": data for number, data in enumerate(proposal.roots, 1)}
        entries |= {BASE_TARGETS: proposal.targets, BASE_RELEASES: proposal.base}
        entries |= {PROVENANCE: proposal.provenance} if proposal.provenance else {}
        entries |= {ATTESTATIONS: proposal.attestations} if proposal.attestations else {}
        entries |= {f"chunks/{name}": data for name, data in sorted(proposal.chunks.items())}
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    disk.put(path, buffer.getvalue())


def read_proposal(path: Path) -> Proposal:
    """Return the proposal in the file at `path`; raise NotThere, or BadProposal for any other kind of file."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = _entries(archive, path.stat().st_size)
    except FileNotFoundError as error:
        raise NotThere(f"there is no proposal {path}") from error
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise BadProposal(f"{path} is not a proposal that can be read: {error}") from error
    roots = {int(match[1]): data for name, data in entries.items() if (match := _ROOT.match(name))}
    missing = [name for name in _LIMITS if name not in entries]
    if missing or sorted(roots) != list(range(1, len(roots) + 1)) or not roots:
        raise BadProposal(f"{path} is not a whole proposal: it lacks {', '.join(missing) or 'a root in the chain'}")
    return Proposal(
        manifest=entries[MANIFEST],
        releases=entries[RELEASES],
        roots=tuple(roots[number] for number in sorted(roots)),
        targets=entries[BASE_TARGETS],
        base=entries[BASE_RELEASES],
        chunks={match[1]: data for name, data in entries.items() if (match := _CHUNK.match(name))},
        provenance=entries.get(PROVENANCE, b""),
        attestations=entries.get(ATTESTATIONS, b""),
    )


def _entries(archive: zipfile.ZipFile, file_bytes: int) -> dict[str, bytes]:
    """Return the entries by name. Only stored ones are read, each byte once: others may be a bomb."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise ValueError(f"{len(infos)} entries and the limit is {MAX_ENTRIES}")
    # Entries that overlap would let a file of megabytes fill gigabytes of memory.
    if (said := sum(info.file_size for info in infos)) > file_bytes:
        raise ValueError(f"its entries say that they hold {said} bytes, and the file has {file_bytes}")
    entries: dict[str, bytes] = {}
    for info in infos:
        limit = (_LIMITS | _OPTIONAL).get(info.filename)
        if limit is None and _ROOT.match(info.filename):
            limit = ROOT_LIMIT
        if limit is None and _CHUNK.match(info.filename):
            limit = MAX_PAYLOAD_BYTES
        if limit is None or info.filename in entries:
            raise ValueError(f"an entry {info.filename!r} that no proposal has, or has twice")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit or info.compress_size > limit:
            raise ValueError(f"{info.filename} is compressed or has more than {limit} bytes")
        with archive.open(info) as file:
            entries[info.filename] = file.read(limit)
    return entries


def _list_of(data: bytes, which: str) -> Metadata[Targets]:
    try:
        return Metadata[Targets].from_bytes(data)
    except RepositoryError as error:
        raise BadProposal(f"the {which} list of releases cannot be read: {error}") from error


def manifest_digest(proposal: Proposal) -> str:
    """Return the SHA-256 by which devices will know the release."""
    return sha256_hex(proposal.manifest)
