"""A few switches under load, as `make bench NAME=switch` measures a hundred."""

import tempfile
from pathlib import Path

from benchmarks.switch import measure


def test_s33_switches_under_four_clients_lose_no_request() -> None:
    with tempfile.TemporaryDirectory(prefix="switch-") as folder:  # a Unix socket's path may have 107 bytes
        figures, failures = measure(5, 4, Path(folder))
    assert failures == []
    assert figures["releases"] == 2 and figures["asked"] > 0
