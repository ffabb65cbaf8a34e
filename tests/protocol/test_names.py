"""What may be called what."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.codec import Record
from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import FileName, VariantName, check_label, is_sha256, parse_release_name, release_name

BAD_LABELS = (
    "", "-a", "a-", "A", "a_b", "a.b", "a/b", "a+b", "#", "+", "a b", "a\n", "\na", "é", "a\0", "a" * 65, "..", "٣",
)  # fmt: skip


@pytest.mark.parametrize("name", ("a", "7", "a-b", "eu-west-1", "a" * 64, "0" * 64))
def test_a_label_is_returned_as_it_is(name):
    assert check_label("region", name) == name


@pytest.mark.parametrize("name", BAD_LABELS)
def test_a_bad_label_is_refused_by_its_kind(name):
    with pytest.raises(BadName, match="cannot name a region"):
        check_label("region", name)


class _Names(Record, frozen=True, kw_only=True):
    variant: VariantName = "v"
    file: FileName = "f"


def decoded(**fields: str) -> _Names:
    return msgspec.json.decode(msgspec.json.encode(fields), type=_Names)


@pytest.mark.parametrize("name", ("model.onnx", "golden/a_b-c.f32", "a/b/c/d", "_x", "A" * 128))
def test_a_file_name_may_have_folders(name):
    assert decoded(file=name).file == name


@pytest.mark.parametrize(
    "name",
    ("", "/a", "a/", "../a", "a/../b", "a/..", "a..b", "./a", ".a", "a//b", "a/b/c/d/e", "a\\b", "a b", "a\n", "a\0b",
     "a/.b", "-a", "A" * 129, "~", "C:x", "*/_ORT_MEM_ADDR_/*"),
)  # fmt: skip
def test_a_file_name_that_could_leave_its_folder_is_refused(name):
    with pytest.raises(msgspec.ValidationError):
        decoded(file=name)


@pytest.mark.parametrize("name", ("fp32", "int8.half", "a_b", "w0.5-int8"))
def test_a_variant_name_may_have_dots(name):
    assert decoded(variant=name).variant == name


@pytest.mark.parametrize("name", ("", ".a", "a.", "A", "a/b", "a" * 65, "a\n"))
def test_a_bad_variant_name_is_refused(name):
    with pytest.raises(msgspec.ValidationError):
        decoded(variant=name)


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True), st.integers(0, 10**9 - 1))
def test_a_release_name_comes_back(model, version):
    assert parse_release_name(release_name(model, version)) == (model, version)


@pytest.mark.parametrize(
    "name", ("fashion", "fashion/", "/3", "fashion/x", "fashion/-1", "fashion/03", "fashion/1/2", "fashion/٣",
             "fashion/3\n", "fashion/1234567890", "Fashion/3", "../3", "fashion/²"),
)  # fmt: skip
def test_what_is_no_release_name_is_refused(name):
    with pytest.raises(BadName):
        parse_release_name(name)


@pytest.mark.parametrize(
    ("text", "right"),
    (("a" * 64, True), ("0" * 64, True), ("A" * 64, False), ("a" * 63, False), ("a" * 65, False), ("a" * 64 + "\n", False),
     ("g" * 64, False)),
)  # fmt: skip
def test_a_digest_is_64_small_hexadecimal_digits(text, right):
    assert is_sha256(text) is right
