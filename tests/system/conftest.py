"""Fleets of real processes; when a test fails, the ends of all their logs are printed with it."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fleet import FOUR, Fleet

MakeFleet = Callable[..., Fleet]
_OPEN: list[Fleet] = []


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Four devices in two regions that tests share: each uses a model of its own, and leaves all parts running."""
    with Fleet(FOUR) as fleet:
        _OPEN.append(fleet)
        yield fleet
        _OPEN.remove(fleet)


@pytest.fixture(scope="session")
def demo_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compression keeps finished steps: what the first demo trained, nobody trains again."""
    return tmp_path_factory.mktemp("demo-work")


@pytest.fixture
def make_fleet() -> Iterator[MakeFleet]:
    """A function that makes a fleet of this test's own, with the arguments of tests.fakes.fleet.Fleet."""
    with ExitStack() as stack:

        def make(*arguments: Any, **keywords: Any) -> Fleet:
            fleet = stack.enter_context(Fleet(*arguments, **keywords))
            _OPEN.append(fleet)
            stack.callback(_OPEN.remove, fleet)
            return fleet

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the fleets that are up have printed to the report of a failed test."""
    report = yield
    if report.failed and call.when == "call":
        report.sections += [(f"fleet in {fleet.folder}", fleet.words()) for fleet in _OPEN]
    return report
