"""The controller alone, with a clock of its own and nothing running."""

import threading
from dataclasses import dataclass

import pytest

from edgefleet_server.app import Server
from edgefleet_server.errors import Refused
from edgefleet_server.ingest.lineage import Alarm, Start
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store import devices, rollouts
from tests.fakes.repository import PASSPHRASE, FakeRepository
from tests.fakes.scripted_device import eventually

from .conftest import MakeServer


@dataclass
class Clock:
    at: float

    def now(self) -> float:
        return self.at


def test_the_timestamp_is_signed_anew_each_day(make_server: MakeServer, repo: FakeRepository) -> None:
    clock = Clock(repo.now.timestamp())
    other = make_server(1)
    other.database.close()
    server = Server(other.config, PASSPHRASE, clock)

    def timestamp() -> bytes:
        return server.repository.metadata()["timestamp.json"]

    server.controller.turn()
    first = timestamp()
    clock.at += 3600
    server.controller.turn()
    assert timestamp() == first
    clock.at += 86400
    server.controller.turn()
    assert timestamp() != first


def test_an_alarm_that_is_raised_while_a_device_is_assigned_stops_that(make_server: MakeServer) -> None:
    server = make_server(1)
    server.controller.assign("one", "eu-west", (), "a test")
    start = Start(head="a", boot="b")
    said: list[Exception] = []

    def assign() -> None:
        try:
            server.controller.assign("one", "ap-south", (), "a test")
        except Refused as error:
            said.append(error)

    other = threading.Thread(target=assign)
    with (
        server.database.write() as connection
    ):  # what devices say is stored meanwhile, and the other one waits for its turn
        other.start()
        eventually("it waits", server.database._next.locked)
        devices.put_alarm(connection, "one", Alarm(since_s=1.0, why="two copies", first=start, second=start))
    other.join()
    assert "one is in quarantine: two copies" in str(said)
    with server.database.read() as connection:
        known = devices.find(connection, "one")
    assert known is not None and known.region == "eu-west"
    server.database.close()


def test_what_was_decided_is_signed_by_whoever_comes_after_a_crash(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    server = make_server(1)
    server.controller.begin(Order("fashion/1", regions=("eu-west",), force=True), "a test")
    with server.database.write() as connection:  # the move is stored, and the server dies before it signs
        (record,) = rollouts.current(connection, "eu-west")
        rollouts.move(
            connection, record, kind="go-back", status="gone-back", stage=0, why="it failed", now=server.clock.now()
        )
    assert _serial(server) == 1
    server.database.close()
    again = make_server(1)
    again.controller.turn()
    assert _serial(again) == 2
    document = again.repository.rollout("eu-west")
    assert document is not None and document.assignments == ()
    again.controller.turn()
    assert _serial(again) == 2, "and only once"


def test_rollouts_in_two_regions_start_in_both_or_in_none(make_server: MakeServer) -> None:
    server = make_server(1)
    before = server.repository.version_stamp()
    with pytest.raises(Refused, match="no device is known in eu-west; no device is known in ap-south"):
        server.controller.begin(Order("fashion/1"), "a test")
    assert server.repository.version_stamp() == before
    assert server.controller.current() == ()


def _serial(server: Server) -> int:
    document = server.repository.rollout("eu-west")
    return document.serial if document else 0


def test_a_manifest_that_cannot_be_read_stops_its_own_rollout_only(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    server = make_server(1)
    server.controller.begin(Order("fashion/1", regions=("ap-south",), force=True), "a test")
    server.controller.begin(Order("fashion/2", regions=("eu-west",), force=True), "a test")
    (repo.folder / "targets" / repo.ref("fashion/1").sha256).write_bytes(b"rotten")
    server.database.close()
    again = make_server(1)
    for _ in range(2):
        again.controller.turn()
    rows = {row["region"]: row for row in again.views.rollouts()}
    assert "it cannot be judged now: the target" in rows["ap-south"]["why"]
    assert "no device of the region is meant yet" in rows["eu-west"]["why"]
    assert again.counters.get("rollout_faults") == 2
    assert {row["why"] for row in again.views.overview()["rollouts"]} == {row["why"] for row in rows.values()}
    again.database.close()


def test_a_clock_that_went_back_is_counted_and_rollouts_are_still_judged(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    other = make_server(1)
    other.database.close()
    clock = Clock(repo.now.timestamp() - 3600)
    server = Server(other.config, PASSPHRASE, clock)
    server.controller.turn()
    assert "set the clock" in server.counters.reasons()["refresh_faults"]
    server.database.close()
