"""The controller's memory of devices is what the database says, whatever changed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_server.store import devices
from edgefleet_server.store.fleet import Fleet
from tests.fakes.repository import FakeRepository

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet

STEPS = st.lists(
    st.tuples(st.sampled_from(["switch", "offline", "assign", "forget", "add", "heard"]), st.integers(0, 5)),
    max_size=12,
)


def do(fleet: StoredFleet, what: str, name: str) -> None:
    if what == "add" or name not in fleet.hardware:
        fleet.add([name])
    elif what == "switch":
        fleet.switch("fashion/1", [name])
    elif what == "offline":
        fleet.say(name, live=False)
    elif what == "assign":
        fleet.server.controller.assign(name, WEST, ("lab",), "ana")
    else:
        with fleet.server.database.write() as connection:
            if what == "forget":
                devices.forget(connection, name)
            else:
                devices.touch(connection, name, fleet.clock.at)


def test_after_any_changes_it_is_what_is_stored(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo)

    @settings(max_examples=25, deadline=None)
    @given(steps=STEPS, sleep_s=st.sampled_from([0.0, 1.0, 60.0]))
    def holds(steps: list[tuple[str, int]], sleep_s: float) -> None:
        view = Fleet()
        fleet.add(["pi-00", "pi-01", "pi-02"])
        for what, number in steps:
            do(fleet, what, f"pi-{number:02}")
            with fleet.server.database.read() as connection:
                view.look(connection)
                assert view.of(WEST) == devices.every(connection, WEST)
            fleet.clock.at += sleep_s
        with fleet.server.database.write() as connection:
            for device in devices.every(connection):
                devices.forget(connection, device.id)
        fleet.running.clear()

    holds()
    fleet.server.database.close()


def test_what_did_not_change_is_the_same_object_and_its_version_stays(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 3)
    view = Fleet()
    with fleet.server.database.read() as connection:
        view.look(connection)
        before, version = view.of(WEST), view.version
        view.look(connection)
    assert all(one is other for one, other in zip(before, view.of(WEST), strict=True))
    assert view.version == version
    fleet.switch("fashion/1", ["pi-01"])
    with fleet.server.database.read() as connection:
        view.look(connection)
    assert [one is other for one, other in zip(before, view.of(WEST), strict=True)] == [True, False, True]
    assert view.version == version + 1
    fleet.server.database.close()
