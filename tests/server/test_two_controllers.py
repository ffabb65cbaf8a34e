"""Two controllers over one database never fight; and one that is cut goes on where it was."""

from dataclasses import replace
from typing import Any

import pytest

from edgefleet_server.errors import Refused
from edgefleet_server.rollouts.by_hand import Hand
from edgefleet_server.rollouts.controller import LEASE, LEASE_S, Controller
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.signer import OnlineSigner
from edgefleet_server.store import lease, rollouts
from edgefleet_server.store.lease import Lost
from tests.fakes.repository import FakeRepository

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet


def controller(fleet: StoredFleet, repo: FakeRepository) -> Controller:
    """One more over the same database and repository, as another process would have it."""
    server = fleet.server
    return Controller(
        server.repository,
        OnlineSigner(server.repository, repo.online),
        server.database,
        server.config,
        fleet.clock,
        server.counters,
        lambda: None,
        alone=False,
    )


def test_one_leads_and_the_other_waits_until_the_lease_ends(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 2)
    one, two = controller(fleet, repo), controller(fleet, repo)
    one.turn()
    two.turn()
    assert (one.leads, two.leads) == (True, False)
    two.begin(Order("fashion/1", regions=(WEST,)), "ana")
    assert fleet.server.repository.rollout(WEST) is None, "stored by whoever was asked, signed by whoever leads"
    one.turn()
    assert fleet.admitted() == fleet.names
    fleet.clock.at += LEASE_S + 1  # the first one is gone
    two.turn()
    assert two.leads
    one.turn()
    assert not one.leads
    two.stop()
    one.turn()
    assert one.leads, "who ends gives it back at once"
    fleet.server.database.close()


def test_one_that_slept_through_its_lease_changes_and_signs_nothing(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 2)
    one, two = controller(fleet, repo), controller(fleet, repo)
    one.begin(Order("fashion/1", regions=(WEST,)), "ana")
    fleet.switch("fashion/1")
    stale = one._lease  # it looks at the fleet, and then sleeps for a minute
    assert stale is not None
    fleet.clock.at += LEASE_S + 1
    two.turn()
    serial = fleet.server.repository.rollout(WEST)
    (record,) = one.current(WEST)
    assert record.status == "complete"
    one._lease = replace(stale, until_s=fleet.clock.at + 100)  # its own clock stood still
    one.turn()
    assert not one.leads
    assert fleet.server.repository.rollout(WEST) == serial
    with pytest.raises(Lost, match="another one took it after number 1"), fleet.server.database.write() as connection:
        lease.hold(connection, stale)
    fleet.server.database.close()


def test_the_number_rises_with_each_holder_and_never_otherwise(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo)
    with fleet.server.database.write() as connection:
        first = lease.take(connection, LEASE, "a", 100.0, 30.0)
        kept = lease.take(connection, LEASE, "a", 120.0, 30.0)
        assert lease.take(connection, LEASE, "b", 149.0, 30.0) is None
        second = lease.take(connection, LEASE, "b", 150.0, 30.0)
        alone = lease.take(connection, LEASE, "c", 151.0, 30.0, alone=True)
    assert [row and row.fence for row in (first, kept, second, alone)] == [1, 1, 2, 3]
    fleet.server.database.close()


@pytest.mark.parametrize("cut", [0, 2, 4, 6])
def test_cut_after_any_look_another_server_ends_the_rollout_alike(
    make_server: MakeServer, repo: FakeRepository, cut: int
) -> None:
    """Stages, waves and a person's yes; at one of the looks the controller is another one, that knows nothing."""
    fleet = make_fleet(make_server, repo, 12)
    mind = controller(fleet, repo)
    mind.begin(Order("fashion/1", regions=(WEST,), stages=(25.0, 100.0), max_under_way=4), "ana")
    for look in range(12):
        if look == cut:
            fleet.clock.at += LEASE_S + 1
            mind = controller(fleet, repo)
        fleet.clock.at += 11
        fleet.switch("fashion/1", fleet.admitted())
        mind.turn()
    (record,) = mind.current(WEST)
    assert record.status == "complete" and "12 of 12 proven" in record.why
    assert len(fleet.admitted()) == 12
    moves = [move["kind"] for move in fleet.server.views.rollouts(WEST)[0]["moves"]]
    assert moves[0] == "start" and moves[-1] == "complete" and moves.count("open") == 1
    fleet.server.database.close()


def test_what_a_person_asks_for_never_undoes_what_another_process_did_to_the_rollout_meanwhile(
    make_server: MakeServer, repo: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet(make_server, repo, 2)
    one, two = controller(fleet, repo), controller(fleet, repo)
    one.begin(Order("fashion/1", regions=(WEST,)), "ana")
    (asked,) = two.current(WEST)
    one.go_back(WEST, None, "the controller", "it hurts")
    monkeypatch.setattr(two._hands, "_find", lambda region, model: asked)  # it looked a moment before
    hands: tuple[Hand, ...] = ("pause", "next")
    for hand in hands:
        with pytest.raises(Refused, match=r"was moved at this moment: it is gone-back .* it hurts"):
            two.by_hand(WEST, None, "ben", hand)
    two._mover.hold_back(asked, "the region is frozen")
    (record,) = one.current(WEST)
    assert (record.status, record.why) == ("gone-back", "the controller: it hurts")
    fleet.server.database.close()


def test_what_is_asked_of_one_that_slept_through_its_lease_is_stored_and_signed_by_the_other(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 2)
    one, two = controller(fleet, repo), controller(fleet, repo)
    one.turn()
    stale = one._lease
    assert stale is not None
    fleet.clock.at += LEASE_S + 1
    two.turn()
    one._lease = replace(stale, until_s=fleet.clock.at + 100)  # its own clock stood still
    one.begin(Order("fashion/1", regions=(WEST,)), "ana")
    assert not one.leads
    two.turn()
    assert fleet.admitted() == fleet.names
    fleet.server.database.close()


def test_a_rollout_that_two_start_at_once_is_started_once(
    make_server: MakeServer, repo: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet(make_server, repo, 2)
    one, two = controller(fleet, repo), controller(fleet, repo)
    order, plan = Order("fashion/1", regions=(WEST,)), two._beginner._plan

    def slowly(*arguments: Any) -> Any:
        planned = plan(*arguments)
        one.begin(order, "ana")
        return planned

    monkeypatch.setattr(two._beginner, "_plan", slowly)
    with pytest.raises(Refused, match="changed at this moment, and fashion/1 is running there now"):
        two.begin(order, "ben")
    with fleet.server.database.read() as connection:
        assert [row.status for row in rollouts.every(connection)] == ["running"]
    fleet.server.database.close()
