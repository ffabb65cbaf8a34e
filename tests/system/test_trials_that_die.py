"""A real agent, real trials that the kernel ends, and applications that ask the model which serves meanwhile."""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.switch import MODEL, Clients, Device, switch
from edgefleet_protocol.manifest import Requirement
from edgefleet_protocol.messages import ModelState
from edgefleet_protocol.rollout import Policy
from tests.fakes.repository import make_package, publish_release

BOUND_BYTES = 200_000_000


class FaultyDevice(Device):
    """Its second release has a variant for each fault, more accurate than the one without."""

    program = (sys.executable, "-m", "tests.fakes.faulty_agent")

    def publish_releases(self) -> None:
        publish_release(self.repo, make_package(self.folder / "one", seed=1))
        # Variant number i has the answers of seed + i: those of the last are what is right of fashion/2.
        needs = {"hungry": Requirement(ir=8, opset=17, memory_bytes=BOUND_BYTES, load_s=60.0)}
        names = ("hungry", "illegal", "plain")
        publish_release(self.repo, make_package(self.folder / "two", variants=names, seed=0, requires=needs))


@dataclass(frozen=True)
class Story:
    """What is told after all, and what applications met."""

    model: ModelState
    failures: list[str]
    releases: set[str]


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    """One update whose first two variants die in their trials, under four clients."""
    with tempfile.TemporaryDirectory(prefix="trials-") as folder, FaultyDevice(Path(folder)) as device:
        switch(device, "fashion/1")
        with Clients(Path(folder) / f"run/{MODEL}.sock", 4) as clients:
            device.wish("fashion/2", Policy(objective="accuracy"))
            device.until(lambda: device.runs("fashion/2"), "the third variant is proven")
            before = len(clients.counts.seconds)
            device.until(lambda: len(clients.counts.seconds) > before + 50, "it answers")
        yield Story(device.models()[0], clients.counts.failures, clients.counts.releases)


def reason(story: Story, variant: str) -> str:
    return next(row.reason for row in story.model.failures if row.variant == variant and row.stage == "trial")


def test_s32_a_trial_that_takes_more_memory_than_its_bound_dies_by_its_limit_and_what_serves_answers_on(
    story: Story,
) -> None:
    assert reason(story, "hungry") == "it needs more memory than the 200 MB that its release allows"
    assert story.failures == [] and story.releases == {"fashion/1", "fashion/2"}


def test_s35_a_variant_whose_worker_meets_an_illegal_instruction_is_excluded_and_the_next_one_serves(
    story: Story,
) -> None:
    assert reason(story, "illegal") == "killed by SIGILL: an instruction this CPU lacks"
    assert story.model.running is not None and story.model.running.variant == "plain"
    assert story.failures == []
