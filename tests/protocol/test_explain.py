"""The table of a choice, as text files that a person can read. Run with UPDATE_GOLDEN=1 to write them anew, then read them."""

import json
import os
from pathlib import Path

import pytest

from edgefleet_protocol.choose import Choice, choose
from edgefleet_protocol.explain import choice_to_dict, render
from edgefleet_protocol.hardware import Hardware, RuntimeInfo
from edgefleet_protocol.manifest import Requirement
from edgefleet_protocol.rollout import Policy
from tests.protocol.sample import device, release, variant

PLANS = Path(__file__).parents[1] / "golden" / "plan"
MB = 1_000_000

FASHION = release(
    [
        variant(
            "fp32",
            accuracy=0.9187,
            size=2_374_408,
            requires=Requirement(memory_bytes=120 * MB),
            latency={"pi-zero-2-w": (0.184, "predicted"), "pi4": (0.0461, "measured"), "orin-nano": (0.011, "predicted")},
        ),
        variant(
            "int8",
            accuracy=0.9161,
            size=640_221,
            requires=Requirement(memory_bytes=80 * MB, features=("asimd",)),
            latency={"pi-zero-2-w": (0.091, "predicted"), "pi4": (0.0203, "measured"), "orin-nano": (0.009, "predicted")},
        ),
        variant(
            "int8-dot",
            accuracy=0.9161,
            size=640_221,
            requires=Requirement(memory_bytes=80 * MB, features=("asimd", "asimddp")),
            latency={"orin-nano": (0.004, "predicted")},
        ),
        variant(
            "half-int8",
            accuracy=0.9092,
            size=201_442,
            requires=Requirement(memory_bytes=60 * MB),
            latency={"pi-zero-2-w": (0.038, "predicted"), "pi4": (0.0098, "measured"), "orin-nano": (0.005, "predicted")},
        ),
        variant("fp16-cuda", accuracy=0.9187, size=1_190_004, requires=Requirement(memory_bytes=900 * MB, provider="CUDAExecutionProvider")),
    ]
)  # fmt: skip
ORIN = Hardware(
    board="nvidia,p3768-0000+p3767-0005",
    hardware_class="orin-nano",
    arch="aarch64",
    features=("asimd", "asimddp"),
    cores=6,
    memory_bytes=7_620_000_000,
    storage_bytes=64_000_000_000,
    runtimes=(
        RuntimeInfo(name="onnxruntime", version="1.23.2", providers=("CUDAExecutionProvider", "CPUExecutionProvider")),
    ),
)

CASES: dict[str, tuple[Choice, Hardware]] = {
    "pi-zero-2-w": (
        choose(
            FASHION,
            device("pi-zero-2-w", memory_bytes=448 * MB),
            Policy(objective="accuracy", latency_budget_s=0.100, memory_budget_bytes=100 * MB),
            failed={"int8": "trial: top-1 differs from the golden answers in 2 of 16 samples"},
        ),
        device("pi-zero-2-w", memory_bytes=448 * MB),
    ),
    "pi4-measured": (
        choose(FASHION, device(), Policy(objective="latency", min_accuracy=0.91), measured={"int8": 0.0254}),
        device(),
    ),
    "orin-nano": (choose(FASHION, ORIN, Policy(objective="accuracy")), ORIN),
    "none-fits": (
        choose(FASHION, device(arch="armv7l", features=()), Policy(download_budget_bytes=100_000)),
        device(arch="armv7l", features=()),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan_reads_as_the_file_says(case):
    choice, hardware = CASES[case]
    text = render(choice, FASHION.name, hardware)
    path = PLANS / f"{case}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_every_plan_file_is_a_case():
    assert {path.stem for path in PLANS.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_programs_get_the_same_table(case):
    choice, _ = CASES[case]
    told = json.loads(json.dumps(choice_to_dict(choice)))
    assert told["taken"] == (choice.taken and choice.taken.name)
    assert told["objective"] == choice.objective
    assert told["why"] == choice.why
    assert [(row["variant"], row["verdict"], row["reason"]) for row in told["table"]] == [
        (row.variant, row.verdict, row.reason) for row in choice.table
    ]
    assert [row["latency_p50_s"] for row in told["table"]] == [row.latency.p50_s for row in choice.table]


def test_a_reason_cannot_break_the_table_or_the_terminal():
    hostile = "it printed\n\x1b[2J\x07 and\r\nmore"
    choice = choose(release([variant("a")]), device(), Policy(), failed={"a": hostile})
    text = render(choice, "fashion/3", device())
    assert len(text.splitlines()) == 5
    assert all(letter.isprintable() or letter == "\n" for letter in text)
