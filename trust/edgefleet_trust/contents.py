"""What a release holds, checked from the bytes up: chunks make files, files make models, models may be opened."""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.errors import BadChunk, BadModel
from edgefleet_protocol.manifest import FileEntry, Release, Variant
from edgefleet_protocol.onnx_guard import Seen, guard

from .errors import TrustError

ONNX = "onnxruntime"


def assemble(entry: FileEntry, payload: Callable[[str], bytes | None]) -> bytes:
    """Return the bytes of `entry`, joined from its chunks; raise TrustError where any of them is not what is signed.

    payload: a chunk's payload by its SHA-256, None where it is missing.
    """
    pieces = []
    for chunk in entry.chunks:
        data = payload(chunk.sha256)
        if data is None:
            raise TrustError(f"{entry.name}: chunk {chunk.sha256[:12]} is missing")
        if len(data) != chunk.wire_bytes:
            raise TrustError(
                f"{entry.name}: chunk {chunk.sha256[:12]} travels in {len(data)} bytes and the manifest says "
                f"{chunk.wire_bytes}"
            )
        try:
            pieces.append(unpack(data, chunk))
        except BadChunk as error:
            raise TrustError(f"{entry.name}: {error}") from error
    joined = b"".join(pieces)
    check_file(entry, joined)
    return joined


def check_file(entry: FileEntry, data: bytes) -> None:
    """Raise TrustError unless `data` has the size and digest of `entry`."""
    if len(data) != entry.bytes:
        raise TrustError(f"{entry.name} has {len(data)} bytes and the release says {entry.bytes}")
    if (digest := sha256_hex(data)) != entry.sha256:
        raise TrustError(f"{entry.name} has the digest {digest[:12]} and the release says {entry.sha256[:12]}")


def check_models(release: Release, read: Callable[[str], bytes]) -> None:
    """Raise TrustError unless every model of `release` passes the guard and needs what its variant says it needs.

    read: a file's bytes by its name.
    """
    guarded: set[str] = set()
    for variant in release.variants:
        for name in _models(variant):
            seen = _guard(release, name, read(name), variant.files)
            guarded.add(name)
            want = variant.requires
            if name == variant.files[0] and (seen.ir_version, seen.opset) != (want.ir, want.opset):
                raise TrustError(
                    f"{name} is IR {seen.ir_version}, opset {seen.opset}, and variant {variant.name} says it needs "
                    f"IR {want.ir}, opset {want.opset}"
                )
    for entry in release.files:
        if entry.name.endswith(".onnx") and entry.name not in guarded:
            _guard(release, entry.name, read(entry.name), ())


def _models(variant: Variant) -> list[str]:
    """The first file is opened whatever it is called; any other that looks like a model might be."""
    first = variant.files[:1] if variant.runtime == ONNX else ()
    return list(dict.fromkeys([*first, *(name for name in variant.files if name.endswith(".onnx"))]))


def _guard(release: Release, name: str, data: bytes, beside: Iterable[str]) -> Seen:
    folder = PurePosixPath(name).parent
    sizes = {
        str(PurePosixPath(other).relative_to(folder)): release.file(other).bytes
        for other in beside
        if other != name and PurePosixPath(other).is_relative_to(folder)
    }
    try:
        return guard(data, sizes)
    except BadModel as error:
        raise TrustError(f"{name} must not be given to a runtime: {error}") from error
