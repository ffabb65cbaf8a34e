"""Leases between processes: the kernel ends them with their process, the clock ends the rest."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgefleet_agent.clock import SystemClock
from edgefleet_agent.enrol_http import Est
from edgefleet_agent.errors import AgentError
from edgefleet_agent.leases import MAX_LEASES, LeaseFolder
from edgefleet_client.lease import NoLease, lease

HOLD = """
import sys, time
from edgefleet_client.lease import lease
with lease("fashion", 600, sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> LeaseFolder:
    found = LeaseFolder(tmp_path, SystemClock())
    found.prepare("fashion")
    return found


def test_s12_an_application_that_takes_a_lease_and_dies_holds_nothing(folder: LeaseFolder) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder.run)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert [row.pid for row in folder.of("fashion")] == [holder.pid]
    finally:
        holder.kill()
        holder.wait()
    assert folder.of("fashion") == ()
    assert list((folder.run / "leases/fashion").iterdir()) == []


def test_a_lease_ends_with_its_block_its_time_and_a_reboot(folder: LeaseFolder) -> None:
    with lease("fashion", 600, folder.run):
        assert folder.of("fashion")[0].pid == os.getpid()
    assert folder.of("fashion") == ()
    with lease("fashion", 1e-6, folder.run):
        assert folder.of("fashion") == ()

    class Rebooted(SystemClock):
        def boot(self) -> str:
            return "another"

    with lease("fashion", 600, folder.run):
        assert LeaseFolder(folder.run, Rebooted()).of("fashion") == ()


def test_what_is_no_lease_counts_as_none_and_no_more_than_a_few_count(folder: LeaseFolder) -> None:
    from contextlib import ExitStack

    (folder.run / "leases/fashion/0.lease").write_bytes(b"\xff not json")
    with ExitStack() as stack:
        for _ in range(MAX_LEASES + 2):
            stack.enter_context(lease("fashion", 600, folder.run))
        found = folder.of("fashion")
    assert len(found) == MAX_LEASES
    assert all(row.until <= time.monotonic() + 3600 for row in found)


def test_a_lease_that_is_nested_beyond_reading_is_none_and_is_removed(folder: LeaseFolder) -> None:
    deep = folder.run / "leases/fashion/deep.lease"
    deep.write_bytes(b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}")
    with deep.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert folder.of("fashion") == ()
    assert not deep.exists()


def test_where_no_agent_runs_a_lease_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoLease, match="Is the agent running"), lease("fashion", 5, tmp_path):
        pass
    with pytest.raises(NoLease, match="at most 3600"), lease("fashion", 4000, tmp_path):
        pass


def test_files_that_are_no_leases_do_not_hide_one_that_is(folder: LeaseFolder) -> None:
    for number in range(500):
        (folder.run / "leases/fashion" / f"{number:03d}").touch()
    with lease("fashion", 60, folder.run):
        assert [row.pid for row in folder.of("fashion")] == [os.getpid()]


@pytest.mark.parametrize("url", ["https://host:99999", "https://[::1", "http://host", "https://host:port", "host"])
def test_what_is_no_address_of_an_enrolment_server_is_refused_in_words(url: str) -> None:
    with pytest.raises(AgentError, match="https://HOST:PORT"):
        Est(url, None)
