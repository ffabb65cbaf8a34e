"""What an application would stumble over when the next release takes over."""

from typing import Any

import pytest
from msgspec.structs import replace

from edgefleet_protocol.interface_change import differences
from edgefleet_protocol.manifest import InputSpec, Interface, OutputSpec

IMAGE = InputSpec(name="image", datatype="FP32", shape=(-1, 1, 28, 28), layout="NCHW", range=(0.0, 1.0))
LOGITS = OutputSpec(name="logits", datatype="FP32", shape=(-1, 3), meaning="logits")
BEFORE = Interface(
    task="classification", inputs=(IMAGE,), outputs=(LOGITS,), labels=("a", "b", "c"), thresholds={"sure": 0.6}
)


def test_the_same_interface_differs_in_nothing() -> None:
    assert differences(BEFORE, replace(BEFORE)) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "detection"}, "the task was classification and is detection"),
        ({"labels": ("a", "b")}, "there were 3 labels and are 2"),
        ({"labels": ("a", "c", "b")}, "label 1 was b and is c"),
        ({"inputs": (replace(IMAGE, shape=(-1, 3, 28, 28)),)}, "the shape of input image was (-1, 1, 28, 28) and is (-1, 3, 28, 28)"),
        ({"inputs": (replace(IMAGE, range=None),)}, "the range of input image was (0.0, 1.0) and is not said"),
        ({"inputs": (IMAGE, replace(IMAGE, name="mask"))}, "the inputs were image and are image, mask"),
        ({"outputs": (replace(LOGITS, meaning="probabilities"),)}, "the meaning of output logits was logits and is probabilities"),
        ({"thresholds": {"sure": 0.7}}, "the thresholds differ: sure"),
    ],
)  # fmt: skip
def test_each_change_is_said_in_words(change: dict[str, Any], words: str) -> None:
    assert differences(BEFORE, replace(BEFORE, **change)) == (words,)


def test_several_changes_are_all_said() -> None:
    assert len(differences(BEFORE, replace(BEFORE, task="other", labels=()))) == 2
