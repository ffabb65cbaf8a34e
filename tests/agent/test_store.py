"""The store on a real disk: what is there was verified, and nothing follows a link."""

import stat
import tracemalloc
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgefleet_agent.errors import BadAssembly
from edgefleet_agent.store import Store
from edgefleet_agent.store.disk import Disk
from edgefleet_agent.store.releases import check_model
from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.codec import sha256_hex
from tests.fakes.device import INPUTS, Package, package
from tests.fakes.tiny_model import tiny_onnx


def filled(tmp_path: Path, release: Package) -> Store:
    store = Store(Disk(), tmp_path)
    rows = {chunk.sha256: chunk for entry in release.release.files for chunk in entry.chunks}
    for sha256, payload in release.chunks.items():
        store.chunks.add(sha256, unpack(payload, rows[sha256]))
    store.chunks.settle()
    return store


def test_a_slot_has_every_file_whole_and_nobody_may_write_to_it(tmp_path: Path) -> None:
    wanted = package(1)
    store = filled(tmp_path, wanted)
    variant = wanted.release.variants[0]
    slot = store.releases.assemble(wanted.release, wanted.sha256, variant, store.chunks)

    folder = store.releases.path("fashion", slot)
    for entry in wanted.release.files_for(variant):
        mode = (folder / entry.name).lstat().st_mode
        assert stat.S_ISREG(mode) and stat.S_IMODE(mode) == 0o440
        assert (folder / entry.name).stat().st_size == entry.bytes
    assert store.releases.whole(wanted.release, variant, slot)
    assert Store(Disk(), tmp_path).releases.slots("fashion") == {slot}


def test_a_chunk_that_was_damaged_on_the_disk_is_dropped_so_that_it_is_fetched_again(tmp_path: Path) -> None:
    wanted = package(1)
    store = filled(tmp_path, wanted)
    sha256 = next(iter(wanted.chunks))
    (tmp_path / "chunks" / sha256).write_bytes(b"other")
    with pytest.raises(BadAssembly, match="damaged"):
        store.releases.assemble(wanted.release, wanted.sha256, wanted.release.variants[0], store.chunks)
    assert sha256 not in store.chunks
    assert store.releases.slots("fashion") == frozenset()


def test_what_a_cut_left_half_done_is_removed_at_start(tmp_path: Path) -> None:
    store = filled(tmp_path, package(1))
    (tmp_path / "slots" / "fashion").mkdir()
    (tmp_path / "slots" / "fashion" / "x.tmp").mkdir()
    (tmp_path / "slots" / "fashion" / "x.tmp" / "model.bin").write_bytes(b"half")
    (tmp_path / "chunks" / "y.tmp").write_bytes(b"half")
    (tmp_path / "facts.json.tmp").write_bytes(b"half")
    assert store.facts.facts.boots == 0
    Store(Disk(), tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_link_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    disk = Disk()
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        disk.read(tmp_path / "link")
    with pytest.raises(OSError):
        disk.write(tmp_path / "link", b"changed")
    assert (tmp_path / "target").read_bytes() == b"secret" and disk.size(tmp_path / "link") is None


def test_a_large_model_is_guarded_and_checked_without_being_in_memory_as_a_whole(tmp_path: Path) -> None:
    wanted = package(1, runtime="onnxruntime")
    variant = wanted.release.variants[0]
    data = tiny_onnx(1, ballast=20_000_000)
    entry = replace(wanted.release.file(variant.files[0]), bytes=len(data), sha256=sha256_hex(data))
    release = replace(
        wanted.release, files=tuple(entry if row.name == entry.name else row for row in wanted.release.files)
    )
    store = Store(Disk(), tmp_path)
    folder = store.releases.path("fashion", "slot")
    for row in release.files_for(variant):
        (folder / row.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / row.name).write_bytes(data if row.name == entry.name else INPUTS)
    del data
    tracemalloc.start()
    try:
        check_model(store.disk, folder, release, variant)
        store.releases.whole(release, variant, "slot")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000

    (folder / entry.name).write_bytes(b"")
    with pytest.raises(BadAssembly, match="must not be opened"):
        check_model(store.disk, folder, release, variant)
    (folder / entry.name).unlink()
    (folder / entry.name).symlink_to(folder / "elsewhere")
    with pytest.raises(OSError):
        check_model(store.disk, folder, release, variant)
