"""A release that does not agree with itself is refused, and told which two things disagree."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from edgefleet_protocol.chunks import MAX_CHUNK_BYTES, MAX_PAYLOAD_BYTES
from edgefleet_protocol.codec import MAX_DOCUMENT_BYTES, decode, encode
from edgefleet_protocol.errors import BadDocument
from edgefleet_protocol.manifest import Chunk, FileEntry, Release, Requirement, TensorFile
from edgefleet_protocol.release_check import check_release
from tests.protocol.sample import ANSWERS, CLASSES, INPUT, SAMPLES, digest, entry, release, variant

GOOD = release([variant("fp32", size=5000), variant("int8", size=2000)])


def with_file(changed: FileEntry) -> Release:
    """GOOD with one of its files replaced, by name."""
    return replace(GOOD, files=tuple(changed if each.name == changed.name else each for each in GOOD.files))


def with_chunks(name: str, *chunks: Chunk) -> Release:
    return with_file(replace(GOOD.file(name), chunks=chunks))


def with_variant(**changes: object) -> Release:
    return replace(GOOD, variants=(replace(GOOD.variants[0], **changes), GOOD.variants[1]))


def with_answers(*outputs: TensorFile) -> Release:
    return with_variant(golden=replace(GOOD.variants[0].golden, outputs=outputs))


def with_inputs(*inputs: TensorFile) -> Release:
    return replace(GOOD, golden_inputs=inputs)


IMAGE = GOOD.golden_inputs[0]
LOGITS = GOOD.variants[0].golden.outputs[0]
CHUNK = GOOD.file("fp32.onnx").chunks[0]
SPEC = GOOD.interface.inputs[0]


def test_a_release_that_agrees_with_itself_passes():
    check_release(GOOD)


def test_a_package_need_not_be_cut_yet():
    uncut = replace(GOOD, version=0, files=tuple(replace(each, chunks=()) for each in GOOD.files))
    check_release(uncut)


@dataclass(frozen=True)
class Wrong:
    release: Release
    words: str


CASES = {
    "encrypted": Wrong(replace(GOOD, encryption={"scheme": "x"}), "is encrypted"),
    "of another kind": Wrong(replace(GOOD, kind="agent"), "kind 'agent'"),
    "a file twice": Wrong(replace(GOOD, files=(*GOOD.files, GOOD.files[0])), f"lists the file {INPUT} twice"),
    "a variant twice": Wrong(replace(GOOD, variants=GOOD.variants * 2), "lists the variant fp32 twice"),
    "an input twice": Wrong(
        replace(GOOD, interface=replace(GOOD.interface, inputs=(SPEC, SPEC)), golden_inputs=(IMAGE, IMAGE)),
        "lists the input image twice",
    ),
    "a file that is a folder too": Wrong(
        replace(GOOD, files=(*GOOD.files, entry("golden", 4))), "lists golden as a file and as the folder of golden/"
    ),
    "a model file twice": Wrong(
        with_variant(files=("fp32.onnx", "fp32.onnx"), bytes=10_000), "lists the model file fp32.onnx twice"
    ),
    # Chunks.
    "a file never cut": Wrong(with_chunks("fp32.onnx"), "fp32.onnx has 5000 bytes and its chunks have 0"),
    "chunks too short": Wrong(
        with_chunks("fp32.onnx", replace(CHUNK, bytes=4999)), "fp32.onnx has 5000 bytes and its chunks have 4999"
    ),
    "a chunk of nothing": Wrong(
        with_chunks("fp32.onnx", CHUNK, Chunk(sha256=digest("x"), bytes=0, wire_bytes=1)), "a chunk of 0 bytes"
    ),
    "a chunk larger than any": Wrong(
        with_file(
            FileEntry(
                name="fp32.onnx",
                bytes=MAX_CHUNK_BYTES + 1,
                sha256=digest("f"),
                chunks=(Chunk(sha256=digest("f"), bytes=MAX_CHUNK_BYTES + 1, wire_bytes=100),),
            )
        ),
        "a chunk of 61440 bytes, 100 on the wire; 1 to 61439 and 61440 are allowed",
    ),
    "a payload larger than any": Wrong(
        with_chunks("fp32.onnx", replace(CHUNK, wire_bytes=MAX_PAYLOAD_BYTES + 1)), "5000 bytes, 61441 on the wire"
    ),
    "a payload of nothing": Wrong(with_chunks("fp32.onnx", replace(CHUNK, wire_bytes=0)), "0 on the wire"),
    "a chunk of two sizes": Wrong(
        with_chunks("int8.onnx", replace(CHUNK, bytes=2000)), "has 5000 bytes and, in int8.onnx, 2000"
    ),
    # Variants.
    "a file that is not listed": Wrong(
        with_variant(files=("gone.onnx",)), "variant fp32 names the file gone.onnx, which the release does not list"
    ),
    "a size that is not its files'": Wrong(
        with_variant(bytes=5001), "variant fp32 says 5001 bytes and its files have 5000"
    ),
    "a provider without tolerance": Wrong(
        with_variant(requires=Requirement(provider="TensorrtExecutionProvider")),
        "have no tolerance for TensorrtExecutionProvider",
    ),
    # Golden inputs and answers.
    "inputs by another name": Wrong(with_inputs(replace(IMAGE, name="x")), "are ['x'] and the interface has ['image']"),
    "too many inputs": Wrong(with_inputs(IMAGE, IMAGE), "the interface has ['image']"),
    "inputs in a file that is not listed": Wrong(with_inputs(replace(IMAGE, file="gone.f32")), "names the file gone.f32"),
    "inputs of another size": Wrong(
        with_inputs(replace(IMAGE, shape=(SAMPLES + 1, 1, 28, 28))), f"is 15680 bytes and {INPUT} has 12544"
    ),
    "inputs of another type": Wrong(
        with_inputs(replace(IMAGE, datatype="INT32")), "image is INT32 [4, 1, 28, 28] and the interface says FP32"
    ),
    "inputs of another shape": Wrong(
        with_inputs(replace(IMAGE, shape=(SAMPLES, 28, 1, 28))), "and the interface says FP32 [-1, 1, 28, 28]"
    ),
    "inputs of another rank": Wrong(with_inputs(replace(IMAGE, shape=(SAMPLES, 784))), "the interface says"),
    "inputs so large that their size is no machine number": Wrong(
        with_inputs(replace(IMAGE, shape=(2**31,) * 8)), "bytes and golden/input.f32 has 12544"
    ),
    "answers to another number of inputs": Wrong(
        with_answers(replace(LOGITS, shape=(2, 2 * CLASSES))), "and the interface says FP32 [-1, 10]"
    ),
    "answers by another name": Wrong(with_answers(replace(LOGITS, name="boxes")), "golden answers of fp32 are ['boxes']"),
    "fewer answers than inputs": Wrong(
        replace(
            with_answers(replace(LOGITS, shape=(SAMPLES - 1, CLASSES), file="few.f32")),
            files=(*GOOD.files, entry("few.f32", (SAMPLES - 1) * CLASSES * 4)),
        ),
        "logits has (3,) samples, not 4",
    ),
    "no samples at all": Wrong(
        replace(
            with_inputs(replace(IMAGE, shape=(0, 1, 28, 28), file="none.f32")),
            files=(*GOOD.files, FileEntry(name="none.f32", bytes=0, sha256=digest(""))),
        ),
        "has (0,) samples, not one or more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_release_that_contradicts_itself_is_refused(case):
    with pytest.raises(BadDocument) as refused:
        check_release(CASES[case].release)
    assert CASES[case].words in str(refused.value)
    assert "fashion/3" in str(refused.value)


def test_what_is_refused_here_cannot_be_seen_while_decoding():
    for wrong in CASES.values():
        assert decode(encode(wrong.release), Release) == wrong.release


def test_a_release_with_most_of_everything_is_read_and_checked():
    # 64 variants of 7 files each; a device does this for each wish, so nothing here may be quadratic in all of it.
    variants = []
    files = list(release().files[:2])
    for number in range(64):
        own = [entry(f"v{number}/part{part}", 100) for part in range(7)]
        files += own
        variants.append(replace(variant(f"v{number}", size=700), files=tuple(each.name for each in own)))
    large = replace(release(), variants=tuple(variants), files=tuple(files))
    data = encode(large)
    assert len(data) < MAX_DOCUMENT_BYTES
    check_release(decode(data, Release))


def test_shared_files_are_counted_once_on_the_wire():
    fp32, int8 = GOOD.variants
    shared = GOOD.file(INPUT).wire_bytes + GOOD.file(ANSWERS).wire_bytes
    assert GOOD.wire_bytes(fp32) == shared + 5001
    assert GOOD.wire_bytes(int8) == shared + 2001
    twin = with_chunks("int8.onnx", replace(CHUNK, bytes=2000))
    assert twin.wire_bytes(replace(int8, files=("int8.onnx", "fp32.onnx"))) == shared + 5001


def test_a_package_that_is_not_cut_counts_its_plain_bytes():
    uncut = replace(GOOD, version=0, files=tuple(replace(each, chunks=()) for each in GOOD.files))
    assert uncut.wire_bytes(uncut.variants[1]) == SAMPLES * 28 * 28 * 4 + SAMPLES * CLASSES * 4 + 2000


def test_a_device_needs_the_model_the_inputs_and_its_own_answers():
    assert [each.name for each in GOOD.files_for(GOOD.variants[1])] == ["int8.onnx", INPUT, ANSWERS]
