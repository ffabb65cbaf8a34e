"""What the runtime below would send, it does not."""

import os

import edgefleet_compress


def test_the_runtime_below_tells_its_maker_nothing() -> None:
    assert edgefleet_compress.__version__
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
