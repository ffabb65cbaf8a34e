"""Does a release agree with itself? Types and sizes are checked while decoding; this is the rest."""

from collections.abc import Iterable
from math import prod

from .chunks import MAX_CHUNK_BYTES, MAX_PAYLOAD_BYTES
from .errors import BadDocument
from .manifest import DATATYPE_BYTES, Release, TensorFile, TensorSpec, Variant


def check_release(release: Release) -> None:
    """Raise BadDocument, naming the two things that disagree, unless `release` agrees with itself."""
    if release.encryption is not None:
        raise BadDocument(f"{release.name} is encrypted ({release.encryption}) and this version cannot open it")
    if release.kind != "model":
        raise BadDocument(f"{release.name} is of kind {release.kind!r}, which this version cannot run yet")
    _unique("file", (entry.name for entry in release.files), release)
    _unique("variant", (variant.name for variant in release.variants), release)
    _check_paths(release)
    _check_chunks(release)
    _unique("input", (spec.name for spec in release.interface.inputs), release)
    _unique("output", (spec.name for spec in release.interface.outputs), release)
    samples = _check_tensors(release, "golden inputs", release.golden_inputs, release.interface.inputs, None)
    for variant in release.variants:
        _check_variant(release, variant, samples)


def _check_paths(release: Release) -> None:
    names = {entry.name for entry in release.files}
    for name in names:
        folder = name.rpartition("/")[0]
        while folder:
            if folder in names:
                raise BadDocument(f"{release.name} lists {folder} as a file and as the folder of {name}")
            folder = folder.rpartition("/")[0]


def _check_chunks(release: Release) -> None:
    sizes: dict[str, int] = {}
    for entry in release.files:
        cut = sum(chunk.bytes for chunk in entry.chunks)
        # A package that is not yet numbered is not yet cut; of a release, a file without chunks could never be fetched.
        if cut != entry.bytes and (entry.chunks or release.version):
            raise BadDocument(f"{release.name}: {entry.name} has {entry.bytes} bytes and its chunks have {cut}")
        for chunk in entry.chunks:
            if not 1 <= chunk.bytes <= MAX_CHUNK_BYTES or not 1 <= chunk.wire_bytes <= MAX_PAYLOAD_BYTES:
                raise BadDocument(
                    f"{release.name}: {entry.name} has a chunk of {chunk.bytes} bytes, {chunk.wire_bytes} on the wire; "
                    f"1 to {MAX_CHUNK_BYTES} and {MAX_PAYLOAD_BYTES} are allowed"
                )
            if sizes.setdefault(chunk.sha256, chunk.bytes) != chunk.bytes:
                raise BadDocument(
                    f"{release.name}: chunk {chunk.sha256[:12]} has {sizes[chunk.sha256]} bytes and, in {entry.name}, "
                    f"{chunk.bytes}"
                )


def _check_variant(release: Release, variant: Variant, samples: int) -> None:
    _unique("model file", variant.files, release)
    for name in variant.files:
        _known_file(release, name, f"variant {variant.name}")
    size = sum(release.file(name).bytes for name in variant.files)
    if size != variant.bytes:
        raise BadDocument(
            f"{release.name}: variant {variant.name} says {variant.bytes} bytes and its files have {size}"
        )
    where = f"golden answers of {variant.name}"
    _check_tensors(release, where, variant.golden.outputs, release.interface.outputs, samples)
    if variant.golden.tolerance(variant.requires.provider) is None:
        raise BadDocument(f"{release.name}: {where} have no tolerance for {variant.requires.provider}, which it needs")


def _check_tensors(
    release: Release, where: str, tensors: tuple[TensorFile, ...], specs: tuple[TensorSpec, ...], samples: int | None
) -> int:
    """Return the number of samples, which every tensor must share."""
    if [tensor.name for tensor in tensors] != [spec.name for spec in specs]:
        raise BadDocument(
            f"{release.name}: {where} are {[tensor.name for tensor in tensors]} and the interface has "
            f"{[spec.name for spec in specs]}"
        )
    for tensor, spec in zip(tensors, specs, strict=True):
        _known_file(release, tensor.file, where)
        size = prod(tensor.shape) * DATATYPE_BYTES[tensor.datatype]
        if size != release.file(tensor.file).bytes:
            raise BadDocument(
                f"{release.name}: {where}: {tensor.name} of {tensor.datatype} {list(tensor.shape)} is {size} bytes and "
                f"{tensor.file} has {release.file(tensor.file).bytes}"
            )
        if tensor.datatype != spec.datatype or not _fits(tensor.shape, spec.shape):
            raise BadDocument(
                f"{release.name}: {where}: {tensor.name} is {tensor.datatype} {list(tensor.shape)} and the interface "
                f"says {spec.datatype} {list(spec.shape)}"
            )
        if not tensor.shape or tensor.shape[0] < 1 or samples not in (None, tensor.shape[0]):
            raise BadDocument(
                f"{release.name}: {where}: {tensor.name} has {tensor.shape[:1]} samples, not {samples or 'one or more'}"
            )
        samples = tensor.shape[0]
    assert samples is not None  # there is at least one tensor: msgspec checked min_length
    return samples


def _fits(shape: tuple[int, ...], spec: tuple[int, ...]) -> bool:
    """The first dimension counts samples in `shape` and is the batch in `spec`."""
    return len(shape) == len(spec) and all(want in (-1, got) for got, want in zip(shape[1:], spec[1:], strict=True))


def _known_file(release: Release, name: str, where: str) -> None:
    if not release.has_file(name):
        raise BadDocument(f"{release.name}: {where} names the file {name}, which the release does not list")


def _unique(what: str, names: Iterable[str], release: Release) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadDocument(f"{release.name} lists the {what} {name} twice")
        seen.add(name)
