"""What is altered between proposing and publishing is refused by the holder and by the publisher alike."""

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets

from edgefleet_protocol import codec
from edgefleet_protocol.chunks import cut_file
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.manifest import FileEntry, Release, Requirement
from edgefleet_trust.errors import BadPackage, BadProposal, BreaksRule, NotThere, TrustError
from edgefleet_trust.files import Disk
from edgefleet_trust.keyfile import KeyWriter, read_key
from edgefleet_trust.motion import is_motion, read_motion
from edgefleet_trust.passphrase import Passphrase
from edgefleet_trust.proposal import Proposal, read_proposal, release_target
from edgefleet_trust.propose import propose
from edgefleet_trust.publish import publish
from edgefleet_trust.roles import to_bytes
from edgefleet_trust.signing import sign_proposal
from tests.fakes.package import make_release, write_package
from tests.fakes.repository import PASSPHRASE, make_package, make_repository, publish_release
from tests.fakes.tiny_model import external_weights, tiny_onnx

from .conftest import Desk

Alter = Callable[[Proposal], Proposal]


def relist(proposal: Proposal, manifest: bytes, chunks: dict[str, bytes] | None = None) -> Proposal:
    """Return a proposal of another manifest whose list of releases says so: an attacker who does it thoroughly."""
    metadata = Metadata[Targets].from_bytes(proposal.releases)
    release = codec.decode(manifest, Release)
    target = release_target(release, manifest)
    metadata.signed.targets = {**proposal.current().signed.targets, target.path: target}
    return replace(proposal, manifest=manifest, releases=to_bytes(metadata), chunks=chunks or proposal.chunks)


def with_file(proposal: Proposal, name: str, data: bytes) -> Proposal:
    """Return the same release with other bytes in one file, every size, digest and chunk set right."""
    release = proposal.release()
    pairs = cut_file(name, data)
    entry = FileEntry(name=name, bytes=len(data), sha256=sha256_hex(data), chunks=tuple(chunk for chunk, _ in pairs))
    files = tuple(entry if row.name == name else row for row in release.files)
    sizes = {row.name: row.bytes for row in files}
    variants = tuple(
        msgspec.structs.replace(row, bytes=sum(sizes[file] for file in row.files)) for row in release.variants
    )
    changed = msgspec.structs.replace(release, files=files, variants=variants)
    return relist(proposal, codec.encode(changed), {**proposal.chunks, **{chunk.sha256: body for chunk, body in pairs}})


def altered_chunk(proposal: Proposal) -> Proposal:
    name, payload = next(iter(proposal.chunks.items()))
    return replace(proposal, chunks={**proposal.chunks, name: payload[:-1] + bytes([payload[-1] ^ 1])})


def longer_chunk(proposal: Proposal) -> Proposal:
    name, payload = next(iter(proposal.chunks.items()))
    return replace(proposal, chunks={**proposal.chunks, name: payload + b"x"})


def missing_chunk(proposal: Proposal) -> Proposal:
    return replace(proposal, chunks=dict(list(proposal.chunks.items())[1:]))


def altered_manifest(proposal: Proposal) -> Proposal:
    return replace(proposal, manifest=proposal.manifest.replace(b"0.95", b"0.99"))


def manifest_that_is_none(proposal: Proposal) -> Proposal:
    return replace(proposal, manifest=b"{}")


def wrong_size(proposal: Proposal) -> Proposal:
    release = proposal.release()
    first = msgspec.structs.replace(release.files[1], bytes=release.files[1].bytes + 1, chunks=())
    return relist(
        proposal, codec.encode(msgspec.structs.replace(release, files=(release.files[0], first, *release.files[2:])))
    )


def wrong_file_digest(proposal: Proposal) -> Proposal:
    release = proposal.release()
    first = msgspec.structs.replace(release.files[0], sha256="ab" * 32)
    return relist(proposal, codec.encode(msgspec.structs.replace(release, files=(first, *release.files[1:]))))


def model_that_reads_another_path(proposal: Proposal) -> Proposal:
    return with_file(proposal, "fp32/model.onnx", tiny_onnx(2, external="../../etc/passwd"))


def model_that_is_no_model(proposal: Proposal) -> Proposal:
    return with_file(proposal, "fp32/model.onnx", b"not a model at all")


def model_of_another_opset(proposal: Proposal) -> Proposal:
    release = proposal.release()
    wrong = msgspec.structs.replace(release.variants[0], requires=Requirement(ir=8, opset=13))
    return relist(proposal, codec.encode(msgspec.structs.replace(release, variants=(wrong, *release.variants[1:]))))


def version_that_skips(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    metadata.signed.version += 1
    return replace(proposal, releases=to_bytes(metadata))


def version_that_stays(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    metadata.signed.version -= 1
    return replace(proposal, releases=to_bytes(metadata))


def list_that_drops_another(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    del metadata.signed.targets["releases/fashion/1.json"]
    return replace(proposal, releases=to_bytes(metadata))


def list_that_changes_another(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    metadata.signed.targets["releases/fashion/1.json"].hashes["sha256"] = "ab" * 32
    return replace(proposal, releases=to_bytes(metadata))


def list_that_adds_another(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    release, _ = make_release("brakes", version=1)
    target = release_target(release, codec.encode(release))
    metadata.signed.targets[target.path] = target
    return replace(proposal, releases=to_bytes(metadata))


def list_that_lasts_for_ever(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    metadata.signed.expires += timedelta(days=100)
    return replace(proposal, releases=to_bytes(metadata))


def list_that_has_expired(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    metadata.signed.expires -= timedelta(days=366)
    return replace(proposal, releases=to_bytes(metadata))


def list_that_says_more(proposal: Proposal) -> Proposal:
    metadata = proposal.next()
    metadata.signed.unrecognized_fields["x-more"] = 1
    return replace(proposal, releases=to_bytes(metadata))


def list_that_is_none(proposal: Proposal) -> Proposal:
    return replace(proposal, releases=b"[]")


def base_that_nobody_signed(proposal: Proposal) -> Proposal:
    metadata = proposal.current()
    metadata.signatures.clear()
    return replace(proposal, base=to_bytes(metadata))


def targets_by_a_stranger(proposal: Proposal) -> Proposal:
    metadata = Metadata[Targets].from_bytes(proposal.targets)
    metadata.sign(CryptoSigner.generate_ed25519())
    return replace(proposal, targets=to_bytes(metadata))


def root_by_a_stranger(proposal: Proposal) -> Proposal:
    second = Metadata.from_bytes(proposal.roots[0])
    second.signed.version = 2
    second.sign(CryptoSigner.generate_ed25519())
    return replace(proposal, roots=(*proposal.roots, to_bytes(second)))


ALTERATIONS: list[Alter] = [
    altered_chunk,
    longer_chunk,
    missing_chunk,
    altered_manifest,
    manifest_that_is_none,
    wrong_size,
    wrong_file_digest,
    model_that_reads_another_path,
    model_that_is_no_model,
    model_of_another_opset,
    version_that_skips,
    version_that_stays,
    list_that_drops_another,
    list_that_changes_another,
    list_that_adds_another,
    list_that_lasts_for_ever,
    list_that_has_expired,
    list_that_says_more,
    list_that_is_none,
    base_that_nobody_signed,
    targets_by_a_stranger,
    root_by_a_stranger,
]


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_an_altered_proposal_is_refused_by_the_holder(desk: Desk, alter: Alter) -> None:
    desk.lay(alter(desk.propose()))
    with pytest.raises(BadProposal):
        desk.review()


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_an_altered_proposal_is_not_published_even_when_it_was_signed(desk: Desk, alter: Alter) -> None:
    """The holder's check was skipped, by a careless holder or a false tool: the list is signed as it is."""
    bad = alter(desk.propose())
    key = read_key(desk.repo.keys_folder / "offline" / "releases.json", Passphrase(PASSPHRASE))
    if alter is not list_that_is_none:
        metadata = bad.next()
        metadata.sign(key)
        bad = bad.with_releases(to_bytes(metadata))
    before = snapshot(desk.repo.folder)
    with pytest.raises(TrustError):
        publish(bad, desk.repo.repository, desk.repo.online, desk.repo.now)
    assert snapshot(desk.repo.folder) == before


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_honest_proposal_is_signed_and_published(desk: Desk) -> None:
    desk.propose(ballast=200_000)
    desk.sign()
    assert publish(read_proposal(desk.file), desk.repo.repository, desk.repo.online, desk.repo.now) == "fashion/2"
    repository = desk.repo.repository
    release, manifest = repository.manifest(repository.releases()["fashion/2"])
    assert release.name == "fashion/2" and manifest == read_proposal(desk.file).manifest
    assert all(repository.chunk(chunk.sha256) for entry in release.files for chunk in entry.chunks)


def test_an_unsigned_proposal_is_not_published(desk: Desk) -> None:
    before = snapshot(desk.repo.folder)
    proposal = desk.propose()
    with pytest.raises(BreaksRule, match="0 of the 1 holders"):
        publish(proposal, desk.repo.repository, desk.repo.online, desk.repo.now)
    assert snapshot(desk.repo.folder) == before


def test_a_list_signed_by_the_wrong_key_is_not_published(desk: Desk) -> None:
    metadata = desk.propose().next()
    for name in ("online/rollouts-eu-west", "online/timestamp", "offline/keys", "offline/root"):
        metadata.sign(read_key(desk.repo.keys_folder / f"{name}.json", Passphrase(PASSPHRASE)), append=True)
    bad = read_proposal(desk.file).with_releases(to_bytes(metadata))
    with pytest.raises(BreaksRule, match="0 of the 1 holders"):
        publish(bad, desk.repo.repository, desk.repo.online, desk.repo.now)


def test_a_foreign_holder_can_neither_sign_nor_see_the_proposal_as_theirs(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_repository(tmp_path / "other")
    desk.propose()
    with pytest.raises(BadProposal, match="another repository"):
        Desk(other, desk.file).review()


def test_a_key_that_is_not_of_the_hand_cannot_sign(desk: Desk, tmp_path: Path) -> None:
    desk.propose()
    reviewed = desk.review()
    place = desk.repo.keys_folder / "offline"
    (place / "releases.json").unlink()
    KeyWriter(place, Passphrase(PASSPHRASE), disk=Disk()).new("releases")
    before = desk.file.read_bytes()
    with pytest.raises(BreaksRule, match=r"none of the keys .* may sign releases"):
        sign_proposal(reviewed, desk.file, desk.repo.keys_folder, Passphrase(PASSPHRASE))
    assert desk.file.read_bytes() == before


def test_a_proposal_of_another_repository_is_not_published(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Desk(make_repository(tmp_path / "other"), tmp_path / "other" / "proposal")
    other.propose()
    other.sign()
    with pytest.raises(BadProposal, match="another repository"):
        publish(read_proposal(other.file), desk.repo.repository, desk.repo.online, desk.repo.now)


def test_of_two_proposals_upon_the_same_list_only_one_is_published(desk: Desk, tmp_path: Path) -> None:
    desk.propose(seed=2)
    desk.sign()
    second = Desk(desk.repo, tmp_path / "second")
    second.propose(seed=3, model="brakes")
    second.sign()
    publish(read_proposal(desk.file), desk.repo.repository, desk.repo.online, desk.repo.now)
    with pytest.raises(BreaksRule, match=r"edgefleet release propose. on the folder again"):
        publish(read_proposal(second.file), desk.repo.repository, desk.repo.online, desk.repo.now)


def test_publishing_twice_changes_nothing(desk: Desk) -> None:
    desk.propose()
    desk.sign()
    for _ in range(2):
        assert publish(read_proposal(desk.file), desk.repo.repository, desk.repo.online, desk.repo.now) == "fashion/2"
    assert desk.repo.repository.current().snapshot.version == 3


def test_a_release_that_a_device_would_refuse_is_not_published(desk: Desk) -> None:
    """The online keys are of another repository: what they sign, no device believes."""
    desk.propose()
    desk.sign()
    (desk.file.parent / "other").mkdir()
    other = make_repository(desk.file.parent / "other")
    before = snapshot(desk.repo.folder)
    with pytest.raises(NotThere, match=r"the online key for snapshot is .* and the repository names"):
        publish(read_proposal(desk.file), desk.repo.repository, other.online, desk.repo.now)
    assert snapshot(desk.repo.folder) == before


# The file itself


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_proposal_is_called_so(desk: Desk, data: bytes) -> None:
    desk.file.write_bytes(data)
    with pytest.raises(BadProposal):
        desk.review()


def test_a_pipe_is_no_proposal_and_is_not_waited_for(desk: Desk) -> None:
    os.mkfifo(desk.file)
    assert not is_motion(desk.file)
    for read in (read_proposal, read_motion):
        with pytest.raises(BadProposal, match="no regular file"):
            read(desk.file)
    with pytest.raises(BadProposal, match="no regular file"):
        read_proposal(Path("/dev/zero"))


def test_a_compressed_entry_is_not_opened(desk: Desk) -> None:
    with zipfile.ZipFile(desk.file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(500_000_000 // 1000))
    with pytest.raises(BadProposal, match="compressed"):
        desk.review()


def test_entries_that_overlap_are_not_read(desk: Desk) -> None:
    """Each inner entry lies within the data of the outer one, and all of them would be read: a bomb of stored entries."""
    names = [f"chunks/{n:064x}" for n in range(40)]
    data = bytes(50_000)
    heads = [zipfile.ZipInfo(name) for name in names]
    for info in heads:
        info.file_size = info.compress_size = len(data)
        info.CRC = zlib.crc32(data)
    with zipfile.ZipFile(desk.file, "w", zipfile.ZIP_STORED) as archive:
        outer = zipfile.ZipInfo("chunks/" + "f" * 64)
        archive.writestr(outer, b"".join(info.FileHeader() for info in heads) + data)
        at = len(outer.FileHeader())
        for info in heads:
            info.header_offset = at
            at += len(info.FileHeader())
            archive.filelist.append(info)
    with pytest.raises(BadProposal, match=r"say that they hold 20\d{5} bytes, and the file has"):
        desk.review()


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "chunks/../x", "base/0.root.json", "manifest.json"])
def test_an_entry_that_no_proposal_has_is_refused(desk: Desk, name: str) -> None:
    desk.propose()
    with zipfile.ZipFile(desk.file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of a name that is there twice
        archive.writestr(name, b"x")
    with pytest.raises(BadProposal, match="no proposal has"):
        desk.review()


def test_every_cut_of_the_file_is_refused(desk: Desk) -> None:
    desk.propose()
    data = desk.file.read_bytes()
    for end in range(0, len(data), max(1, len(data) // 60)):
        desk.file.write_bytes(data[:end])
        with pytest.raises(BadProposal):
            desk.review()


def test_words_of_the_proposer_cannot_hide_a_line(desk: Desk, tmp_path: Path) -> None:
    release, files = make_release(seed=5)
    hostile = msgspec.structs.replace(release, notes="fine\x1b[2J\r\nSigned by everybody")
    write_package(tmp_path / "p", hostile, files)
    desk.lay(propose(tmp_path / "p", desk.repo.repository, desk.repo.now))
    words = "".join(desk.review().words)
    assert "\x1b" not in words and "\n" not in words and "fine?[2J??Signed" in words


# Proposing


def test_propose_counts_on_from_the_last_listed_release_of_the_model(desk: Desk) -> None:
    assert desk.propose().release().name == "fashion/2"
    assert desk.propose(model="brakes").release().name == "brakes/1"


def test_propose_says_how_far_it_is(desk: Desk, tmp_path: Path) -> None:
    lines: list[str] = []
    propose(make_package(tmp_path, seed=7, ballast=100_000), desk.repo.repository, desk.repo.now, say=lines.append)
    assert lines[-1].startswith("cut 0.2 of 0.2 MB")


def test_a_chunk_that_rotted_in_the_repository_is_whole_after_the_next_release_of_it(desk: Desk) -> None:
    name, payload = next(iter(desk.propose().chunks.items()))
    desk.sign()
    publish(read_proposal(desk.file), desk.repo.repository, desk.repo.online, desk.repo.now)
    stored = desk.repo.folder / "chunks" / name
    stored.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    desk.propose()
    desk.sign()
    publish(read_proposal(desk.file), desk.repo.repository, desk.repo.online, desk.repo.now)
    assert stored.read_bytes() == payload


def test_a_second_release_that_shares_files_shares_chunks(desk: Desk, tmp_path: Path) -> None:
    publish_release(desk.repo, make_package(tmp_path, seed=20, ballast=100_000))
    before = set((desk.repo.folder / "chunks").iterdir())
    # Variant int8 of seed 20 is the tiny model of seed 21, which is fp32 here.
    publish_release(desk.repo, make_package(tmp_path, variants=("fp32",), seed=21, ballast=100_000))
    new = set((desk.repo.folder / "chunks").iterdir()) - before
    assert sum(path.stat().st_size for path in new) < 1000


def spoil(change: Callable[[Release, dict[str, bytes]], Release]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        release, files = make_release(seed=9)
        write_package(folder / "bad", change(release, files), files)
        return folder / "bad"

    return make


def _wrong_bytes(release: Release, files: dict[str, bytes]) -> Release:
    files["golden/input.f32"] = bytes(len(files["golden/input.f32"]))
    return release


def _shorter(release: Release, files: dict[str, bytes]) -> Release:
    files["int8/model.onnx"] = files["int8/model.onnx"][:-1]
    return release


def _lost(release: Release, files: dict[str, bytes]) -> Release:
    del files["int8/model.onnx"]
    return release


def _numbered(release: Release, files: dict[str, bytes]) -> Release:
    return msgspec.structs.replace(release, version=3)


def _opset(release: Release, files: dict[str, bytes]) -> Release:
    first = msgspec.structs.replace(release.variants[0], requires=Requirement(ir=7, opset=17))
    return msgspec.structs.replace(release, variants=(first, *release.variants[1:]))


def _escape(release: Release, files: dict[str, bytes]) -> Release:
    data = tiny_onnx(9, external="/etc/passwd")
    files["fp32/model.onnx"] = data
    rows = tuple(
        FileEntry(name=row.name, bytes=len(data), sha256=sha256_hex(data)) if row.name == "fp32/model.onnx" else row
        for row in release.files
    )
    first = msgspec.structs.replace(release.variants[0], bytes=len(data))
    return msgspec.structs.replace(release, files=rows, variants=(first, *release.variants[1:]))


@pytest.mark.parametrize("change", [_wrong_bytes, _shorter, _lost, _numbered, _opset, _escape])
def test_a_package_that_is_not_what_it_says_is_not_proposed(
    desk: Desk, tmp_path: Path, change: Callable[[Release, dict[str, bytes]], Release]
) -> None:
    with pytest.raises(BadPackage):
        propose(spoil(change)(tmp_path), desk.repo.repository, desk.repo.now)


def test_a_folder_that_is_no_package_is_not_there(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="edgefleet compress"):
        propose(tmp_path / "nowhere", desk.repo.repository, desk.repo.now)


def test_a_file_of_a_package_that_is_a_link_out_of_it_is_not_read(desk: Desk, tmp_path: Path) -> None:
    release, files = make_release(seed=9)
    write_package(tmp_path / "p", release, files)
    inside = tmp_path / "p" / "files" / "golden" / "input.f32"
    (tmp_path / "outside").write_bytes(inside.read_bytes())
    inside.unlink()
    inside.symlink_to(tmp_path / "outside")
    with pytest.raises(BadPackage, match="leads out"):
        propose(tmp_path / "p", desk.repo.repository, desk.repo.now)


def test_external_data_that_the_release_lists_beside_the_model_is_fine(desk: Desk, tmp_path: Path) -> None:
    release, files = make_release(seed=9)
    files["fp32/model.onnx"] = tiny_onnx(9, external="weights.bin")
    files["fp32/weights.bin"] = external_weights(9)
    rows = tuple(FileEntry(name=name, bytes=len(data), sha256=sha256_hex(data)) for name, data in files.items())
    names = ("fp32/model.onnx", "fp32/weights.bin")
    first = msgspec.structs.replace(release.variants[0], files=names, bytes=sum(len(files[name]) for name in names))
    whole = msgspec.structs.replace(release, files=rows, variants=(first, *release.variants[1:]))
    write_package(tmp_path / "p", whole, files)
    desk.lay(propose(tmp_path / "p", desk.repo.repository, desk.repo.now))
    desk.sign()
