"""`edgefleet release propose`: a package folder of `edgefleet compress`, checked, numbered and cut, as a proposal."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
from tuf.api.metadata import Metadata, Targets

from edgefleet_protocol import codec
from edgefleet_protocol.chunks import cut_file, unpack
from edgefleet_protocol.codec import MAX_DOCUMENT_BYTES
from edgefleet_protocol.errors import BadChunk, ProtocolError
from edgefleet_protocol.manifest import Chunk, FileEntry, Release
from edgefleet_protocol.release_check import check_release
from edgefleet_protocol.trust import RELEASES_ROLE

from .attest import MAX_PROVENANCE_BYTES, provenance_statement
from .contents import check_file, check_models
from .current import Current
from .errors import BadPackage, NotThere, TrustError
from .numbers import last_numbers
from .package import builder, read_lineage, read_materials, read_regular
from .proposal import Proposal, release_target
from .repository import Repository
from .roles import NUMBERS_FIELD, life, to_bytes, whole_seconds

Say = Callable[[str], None]


def propose(
    package: Path, repository: Repository, now: datetime, *, notes: str = "", say: Say | None = None
) -> Proposal:
    """Return a proposal, unsigned, to list `package` as the next release of its model.

    say: is told how far it is. Raises NotThere or BadPackage.
    """
    say = say or (lambda text: None)
    draft, contents = read_package(package)
    current = repository.current()
    number = 1 + last_numbers(current.roles[RELEASES_ROLE]).get(draft.model, 0)
    files, chunks = _cut(draft, contents, repository, say)
    release = msgspec.structs.replace(
        draft,
        version=number,
        created=whole_seconds(now),
        files=files,
        notes="\n".join(text for text in (notes, draft.notes) if text),
    )
    manifest = codec.encode(release)
    try:
        check_release(codec.decode(manifest, Release))
    except ProtocolError as error:
        raise BadPackage(f"{package}: as a release it would break a rule: {error}") from error
    provenance = provenance_statement(release, manifest, read_materials(package), read_lineage(package), builder())
    if len(provenance) > MAX_PROVENANCE_BYTES:
        raise BadPackage(
            f"{package}: its provenance has {len(provenance)} bytes and the limit is {MAX_PROVENANCE_BYTES}"
        )
    return Proposal(
        manifest=manifest,
        releases=_next_list(current, release, manifest, now),
        roots=tuple(current.files[f"{n}.root.json"] for n in range(1, current.root.version + 1)),
        targets=current.files[current.role_file("targets")],
        base=current.files[current.role_file(RELEASES_ROLE)],
        chunks=chunks,
        provenance=provenance,
    )


def read_package(package: Path) -> tuple[Release, dict[str, bytes]]:
    """Return the draft and the bytes of its files, which are what the draft says and may be given to a runtime."""
    try:
        data = read_regular(package / "release.json", MAX_DOCUMENT_BYTES)
    except OSError as error:
        raise NotThere(
            f"{package} is no package: {package / 'release.json'} cannot be read ({error.strerror}). "
            "`edgefleet compress` makes one"
        ) from error
    try:
        draft = codec.decode(data, Release)
        check_release(draft)
    except ProtocolError as error:
        raise BadPackage(f"{package}: {error}") from error
    if draft.version or any(entry.chunks for entry in draft.files):
        raise BadPackage(f"{package} holds {draft.name}, which is numbered or cut already; propose the original folder")
    contents = {entry.name: _read(package / "files", entry) for entry in draft.files}
    try:
        for entry in draft.files:
            check_file(entry, contents[entry.name])
        check_models(draft, contents.__getitem__)
    except TrustError as error:
        raise BadPackage(f"{package}: {error}") from error
    return draft, contents


def _read(folder: Path, entry: FileEntry) -> bytes:
    path = folder / entry.name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadPackage(f"{path} leads out of the package")
    try:
        return read_regular(path, entry.bytes)
    except OSError as error:
        raise BadPackage(f"the package lists {entry.name}, and {path} cannot be read: {error.strerror}") from error


def _cut(
    draft: Release, contents: dict[str, bytes], repository: Repository, say: Say
) -> tuple[tuple[FileEntry, ...], dict[str, bytes]]:
    """Return the files with their chunks, and every payload. A chunk that the repository has keeps its payload."""
    total = sum(entry.bytes for entry in draft.files)
    done = new = 0
    files, chunks = [], {}
    for entry in draft.files:
        rows = []
        for chunk, fresh in cut_file(entry.name, contents[entry.name]):
            kept = _whole(repository.chunk(chunk.sha256), chunk)
            payload = fresh if kept is None else kept
            new += len(payload) if kept is None and chunk.sha256 not in chunks else 0
            chunks[chunk.sha256] = payload
            rows.append(msgspec.structs.replace(chunk, wire_bytes=len(payload)))
        files.append(msgspec.structs.replace(entry, chunks=tuple(rows)))
        done += entry.bytes
        say(f"cut {done / 1e6:.1f} of {total / 1e6:.1f} MB, {new / 1e6:.1f} MB new on the wire")
    return tuple(files), chunks


def _whole(payload: bytes | None, chunk: Chunk) -> bytes | None:
    """Return the repository's payload of `chunk`, or None where it lacks it or holds something else in its place."""
    try:
        return payload if payload is not None and unpack(payload, chunk) else None
    except BadChunk:
        return None


def _next_list(current: Current, release: Release, manifest: bytes, now: datetime) -> bytes:
    old = current.roles[RELEASES_ROLE]
    target = release_target(release, manifest)
    body = Targets(
        version=old.version + 1,
        expires=whole_seconds(now) + life(RELEASES_ROLE),
        targets={**old.targets, target.path: target},
        unrecognized_fields={NUMBERS_FIELD: {**last_numbers(old), release.model: release.version}},
    )
    return to_bytes(Metadata(body))


def progress(text: str) -> None:
    """Print how far it is over the line before; where there is no terminal, nothing: the command's answer says it all."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
