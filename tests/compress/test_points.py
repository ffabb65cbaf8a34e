"""A change is written with its sign, and nothing is written as minus nothing."""

import json
import math
import re
from pathlib import Path

import pytest

from edgefleet_compress.commands import main
from edgefleet_compress.points import change_in_points, signed


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0.8927, 0.8954, "+0.27"),
        (0.8954, 0.8914, "−0.40"),
        (0.9, 0.9, "0.00"),
        (0.9, 0.89996, "0.00"),
        (0.9, 0.90004, "0.00"),
        (0.9, 0.89994, "−0.01"),
        (1, 0, "−100.00"),
    ],
)
def test_a_change_has_its_sign(before: float, after: float, words: str) -> None:
    assert signed(change_in_points(before, after)) == words


def test_no_change_is_no_minus_zero() -> None:
    assert math.copysign(1, change_in_points(0.9, 0.9)) == math.copysign(1, change_in_points(0.9, 0.8999999)) == 1


def test_table_and_report_write_the_same_change(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(package), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["variants"]}
    assert main(["show", str(package)]) == 0
    table, page = capsys.readouterr().out, (package / "report.html").read_text()
    assert "lost" not in table.splitlines()[0] and "points lost" not in page
    for name, row in rows.items():
        assert row["points_change"] == -row["points_lost"]
        words = signed(row["points_change"])
        assert re.search(rf"^{re.escape(name)} +[0-9.]+ % +{re.escape(words)} ", table, re.MULTILINE)
        assert name == "fp32" or f"<td>{words}</td>" in page
