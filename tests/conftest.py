"""What every test shares: a skipped test fails the run, because what is not run shows nothing."""

import signal
from collections.abc import Iterator

import pytest

from tests.fakes.postgres import Postgres

# A shell that starts a run in the background has it ignore Ctrl-C, and programs that tests start and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL for the session; `new` gives each test a database of its own."""
    with Postgres() as cluster:
        yield cluster


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a run with skipped tests into a failed one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter else 0
    if skipped and exitstatus == 0:
        session.exitstatus = 1
        reporter.write_line(f"{skipped} tests were skipped: a skipped test is a failed run", red=True)
