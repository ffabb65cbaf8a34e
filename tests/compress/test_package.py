"""The package is what a release is made of: it agrees with itself, holds what it promises, and reads well."""

import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgefleet_compress.commands import main
from edgefleet_compress.errors import PackageError
from edgefleet_compress.package.golden import certain_top1, golden_rows
from edgefleet_compress.package.variants import Contents, read, write
from edgefleet_compress.runtime import Array
from edgefleet_compress.targets import targets, this_class
from edgefleet_compress.workload import Workload
from edgefleet_protocol.codec import decode
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.onnx_guard import guard
from edgefleet_protocol.release_check import check_release
from tests.compress.conftest import RECIPES, TINY

VARIANTS = ["fp32", "int8", "p50", "p50-int8"]


@pytest.fixture(scope="module")
def release(package: Path) -> Release:
    return decode((package / "release.json").read_bytes(), Release)


def test_the_release_agrees_with_itself_and_every_model_passes_the_guard(package: Path, release: Release) -> None:
    check_release(release)
    assert release.version == 0 and release.model == "tiny"
    assert sorted(variant.name for variant in release.variants) == VARIANTS
    assert all(not entry.chunks for entry in release.files)
    for variant in release.variants:
        seen = guard((package / "files" / variant.files[0]).read_bytes())
        assert (seen.ir_version, seen.opset) == (8, 17) == (variant.requires.ir, variant.requires.opset)
        assert variant.requires.min_runtime == "1.19.0" and not variant.requires.arch
        assert variant.requires.provider == "CPUExecutionProvider"
        assert 20_000_000 < variant.requires.memory_bytes < 1_000_000_000
        assert variant.accuracy.scored_as == "arm" and variant.accuracy.samples == 300


def test_every_listed_file_is_there_and_no_other(package: Path, release: Release) -> None:
    on_disk = {
        path.relative_to(package / "files").as_posix() for path in (package / "files").rglob("*") if path.is_file()
    }
    assert on_disk == {entry.name for entry in release.files}


def test_the_batch_is_free_in_the_interface_and_in_every_model(package: Path, release: Release) -> None:
    assert release.interface.inputs[0].shape == (-1, 1, 28, 28)
    assert release.interface.outputs[0].shape == (-1, 10)
    for variant in release.variants:
        session = onnxruntime.InferenceSession(str(package / "files" / variant.files[0]))
        for batch in (1, 3):
            assert session.run(None, {"image": np.zeros((batch, 1, 28, 28), np.float32)})[0].shape == (batch, 10)


def golden(package: Path, release: Release) -> Array:
    (tensor,) = release.golden_inputs
    return np.frombuffer((package / "files" / tensor.file).read_bytes(), "<f4").reshape(tensor.shape)


@pytest.mark.parametrize("keys", [{}, {"session.qdqisint8allowed": "1"}])
@pytest.mark.parametrize("threads", [1, 2])
def test_golden_answers_hold_in_a_fresh_session(
    keys: dict[str, str], threads: int, package: Path, release: Release
) -> None:
    inputs = golden(package, release)
    assert len(inputs) == 16
    for variant in release.variants:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        for key, value in keys.items():
            options.add_session_config_entry(key, value)
        session = onnxruntime.InferenceSession(str(package / "files" / variant.files[0]), options)
        got = np.concatenate([session.run(None, {"image": row[None]})[0] for row in inputs])
        (tensor,) = variant.golden.outputs
        want = np.frombuffer((package / "files" / tensor.file).read_bytes(), "<f4").reshape(tensor.shape)
        tolerance = variant.golden.tolerance("CPUExecutionProvider")
        assert tolerance is not None
        assert np.abs(got - want).max() <= tolerance.max_abs
        assert (got.argmax(1) == want.argmax(1)).mean() >= tolerance.min_top1


def test_the_tolerance_is_far_narrower_than_the_answers_of_another_variant(package: Path, release: Release) -> None:
    answers = {}
    for variant in release.variants:
        (tensor,) = variant.golden.outputs
        answers[variant.name] = np.frombuffer((package / "files" / tensor.file).read_bytes(), "<f4")
    for variant in release.variants:
        if variant.name.startswith("p50") == ("fp32" in variant.name):
            continue
        far = np.abs(answers[variant.name] - answers["fp32"]).max()
        if variant.name.startswith("p50"):
            assert far > variant.golden.tolerances[0].max_abs


def test_the_check_folder_has_inputs_labels_and_answers(package: Path, release: Release) -> None:
    about = json.loads((package / "check" / "check.json").read_text())
    assert about["samples"] == 256 and about["shape"] == [256, 1, 28, 28] and len(about["labels"]) == 256
    inputs = np.fromfile(package / "check" / "inputs.f32", "<f4").reshape(about["shape"])
    for variant in release.variants:
        want = np.fromfile(package / "check" / f"{variant.name}.f32", "<f4").reshape(256, 10)
        session = onnxruntime.InferenceSession(str(package / "files" / variant.files[0]))
        got = session.run(None, {"image": inputs})[0]
        assert np.abs(got - want).max() <= variant.golden.tolerances[0].max_abs


def test_golden_inputs_show_every_label_and_are_not_check_inputs(
    package: Path, release: Release, tiny: Workload
) -> None:
    rows = golden_rows(tiny)
    assert len(rows) == len(set(rows)) == 16
    assert set(tiny.test.targets[rows].tolist()) == set(range(10))
    checked = np.fromfile(package / "check" / "inputs.f32", "<f4").reshape(-1, 1, 28, 28)
    same = {row.tobytes() for row in golden(package, release)} & {row.tobytes() for row in checked}
    assert len(same) <= 2  # a package of 300 test samples has to let a few be both


def test_latency_is_measured_here_and_predicted_for_every_other_class_that_can_run_it(release: Release) -> None:
    for variant in release.variants:
        assert [row.hardware_class for row in variant.latency if row.how == "measured"] == [this_class()]
        able = {target.name for target in targets() if target.can_run(variant.requires)}
        assert {row.hardware_class for row in variant.latency} == {this_class(), *able}
        assert all(row.p50_s > 0 for row in variant.latency)
    fp32, pruned = release.variant("fp32"), release.variant("p50")
    assert fp32 is not None and pruned is not None
    for name in ("pi-zero-2-w", "pi4", "pi5", "orin-nano"):
        before, after = fp32.latency_on(name), pruned.latency_on(name)
        assert before is not None and after is not None and after.p50_s < before.p50_s


def test_top1_is_promised_only_for_samples_that_the_tolerance_cannot_turn() -> None:
    outputs = np.array([[5.0, 1.0], [1.0, 1.1], [0.0, 3.0], [2.0, 1.0]])
    assert certain_top1(outputs, 0.4) == 0.75
    assert certain_top1(outputs, 10) == 0


class Links(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_needs_nothing_else_and_names_every_variant(package: Path) -> None:
    page = (package / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert not links.outside and not {"script", "link", "img"} & set(links.tags)
    assert not re.search(r"url\(|@import", page)
    assert links.tags.count("svg") == 2 and page.count("<circle") == 2 * len(VARIANTS)
    assert "prefers-color-scheme:dark" in page
    for name in VARIANTS:
        assert f"<th>{name}</th>" in page
    assert onnx.__version__ in page and onnxruntime.__version__ in page


def test_the_report_says_what_a_variant_needs_and_which_class_it_is_not_for(package: Path, release: Release) -> None:
    special = release.variant("p50-int8")
    assert special is not None and special.requires.features == ("asimddp",)
    page = (package / "report.html").read_text()
    assert "<td>asimddp</td>" in page and "<td>nothing special</td>" in page
    unable = [t.name for t in targets() if not t.can_run(special.requires) and t.name != this_class()]
    assert page.count("not for it</small>") == len(unable) >= 3


def test_show_reads_the_package_back(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(package), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert sorted(row["name"] for row in shown["variants"]) == VARIANTS
    assert all(0 < row["wire_bytes"] < row["bytes"] * 1.1 for row in shown["variants"])
    assert main(["show", str(package)]) == 0
    shown_words = capsys.readouterr().out
    assert "p50-int8" in shown_words and "(needs asimddp)" in shown_words


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_has_enough_is_no_error(package: Path, more: list[str]) -> None:
    argv = ["show", str(package), *more]
    code = f"import sys; from edgefleet_compress.commands import main; sys.exit(main({argv!r}))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_altered_file_is_noticed(package: Path, tmp_path: Path) -> None:
    _release, contents = read(package)
    contents.files["int8/model.onnx"] += b"\0"
    write(tmp_path / "bad", (package / "release.json").read_bytes(), contents)
    with pytest.raises(PackageError, match=r"int8/model\.onnx has the digest"):
        read(tmp_path / "bad")


def test_a_folder_that_is_no_package_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(PackageError, match="is there and is no package"):
        write(tmp_path / "mine", b"", Contents())
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_lineage_names_what_the_package_was_made_of(package: Path) -> None:
    said = json.loads((package / "lineage.json").read_text())
    assert said["workload"]["sha256"] == hashlib.sha256(TINY.read_bytes()).hexdigest()
    assert len(said["workload"]["inputs_sha256"]) == 64 and said["recipes"]["file"] == RECIPES.name
    assert set(said["steps"]) == {
        variant.name for variant in decode((package / "release.json").read_bytes(), Release).variants
    }
    assert "torch" in said["made_with"]
