"""What the server needs of its database, asked of SQLite and of a real PostgreSQL: one suite, every back-end."""

import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import Command, DeviceState, Event, Reply
from edgefleet_protocol.sketch import Sketch
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, TelemetryBatch, Window
from edgefleet_protocol.topics import Topics
from edgefleet_server.config import KeepConfig
from edgefleet_server.errors import BadConfig, ServerError
from edgefleet_server.ingest.counters import Counters
from edgefleet_server.ingest.intake import Intake
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.regions.settings import RegionSettings
from edgefleet_server.store import (
    commands,
    decommissioned,
    devices,
    events,
    follow,
    groups,
    pieces,
    pruning,
    regions,
    retained,
    rollouts,
    telemetry,
    windows,
)
from edgefleet_server.store.beside import beside
from edgefleet_server.store.database import Database, held
from edgefleet_server.store.devices import AssignmentRow
from edgefleet_server.store.schema import metadata
from edgefleet_server.store.windows import Placed
from edgefleet_server.telemetry.stored import models_told
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import Postgres
from tests.server.records import NEW, assignment, record

DAY_S, HOUR_S = 86400.0, 3600.0
TOPICS = Topics("demo")
NOW = time.time()
MakeDatabase = Callable[[], Database]


@pytest.fixture(params=("sqlite", "postgresql"))
def place(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Path | str:
    return tmp_path / "server.sqlite3" if request.param == "sqlite" else postgres.new()


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    database = Database(place)
    yield database
    database.close()


def window(n: float = 0, **fields: object) -> Window:
    model = ModelWindow(
        model="fashion", release="fashion/1", release_sha256="a" * 64, variant="fp32", requests=4,
        latency=Sketch(offset=-100, counts=(1, 2, 1)), memory_bytes=2**40,
    )  # fmt: skip
    values = {
        "start_s": NOW - HOUR_S + n,
        "seconds": 60.0,
        "boot": "b",
        "started_monotonic_s": float(n),
        "models": (model,),
    }
    return Window(**{**values, **fields})  # type: ignore[arg-type]


def message(*rows: Window | dict[str, object], device: str = "one", topic: str | None = None) -> Incoming:
    document = msgspec.to_builtins(TelemetryBatch(device=device, windows=(window(),)))
    document["windows"] = [msgspec.to_builtins(row) for row in rows]
    payload = zlib.compress(msgspec.json.encode(document))
    return Incoming(TOPICS.of_device(topic or device, "telemetry"), payload, retained=False, session=1, mid=1, qos=1)


def intake(database: Database, now: float = NOW, keep: KeepConfig | None = None) -> tuple[Intake, Counters]:
    counters, clock = Counters(), FakeClock(now)
    return Intake(TOPICS, database, clock, counters, keep), counters


def kept(database: Database) -> list[tuple[object, ...]]:
    """Every window, without when it came, and what each of its models counted."""
    with database.read() as connection:
        query = "SELECT device, boot, started_monotonic_s, placed_s, seconds, facts, requests, models FROM windows ORDER BY 1, 2, 3"
        found = [tuple(row) for row in connection.exec_driver_sql(query)]
        return found + [(*row[:4], counts) for row in found for counts in models_told(row[7])]


# The database


def test_the_migrations_make_the_tables_that_the_code_names(database: Database) -> None:
    def ours(thing: object, name: str, kind: str, reflected: bool, compared: object) -> bool:
        # PostgreSQL has more: partitions, the table of what was placed by its arrival, numbers of rows.
        table = name if kind == "table" else getattr(getattr(thing, "table", None), "name", "")
        if table == "windows":
            return not (database.is_postgresql and kind in ("index", "column"))
        return not reflected or compared is not None or table in metadata.tables

    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours})
        assert compare_metadata(context, metadata) == []


def test_opening_again_changes_nothing_and_a_second_server_is_refused(place: Path | str, database: Database) -> None:
    with database.write() as connection:
        retained.put(connection, {"t": ("d", 2**31)})
    assert held(place)
    with pytest.raises(ServerError, match="another server runs with"):
        Database(place)
    database.close()
    assert not held(place)
    again = Database(place)
    with again.read() as connection:
        assert retained.every(connection) == {"t": "d"}
    again.close()


def test_a_command_works_beside_a_server_and_without_one(place: Path | str, database: Database) -> None:
    for running in (True, False):
        if not running:
            database.close()
        with beside(place) as connection:
            retained.put(connection, {f"t{running}": ("d", 1)})
    with beside(place) as connection:
        assert set(retained.every(connection)) == {"tTrue", "tFalse"}


def test_many_threads_decide_by_what_they_read_and_none_is_refused(database: Database) -> None:
    faults: list[Exception] = []

    def write(thread: int) -> None:
        try:
            for _ in range(40):
                with database.write() as connection:
                    seen = events.count(connection)  # a read first, as our transactions do
                    event = Event(device="one", boot="b", number=seen, at_s=1.0, kind="k", text="t")
                    assert events.add(connection, event, 1.0), "two transactions read the same"
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with database.read() as connection:
        assert events.count(connection) == 240


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    for transaction in (database.write, database.append):
        with pytest.raises(ValueError, match="on purpose"), transaction() as connection:
            retained.put(connection, {"t": ("d", 1)})
            windows.add(connection, [Placed("one", window(), NOW)], NOW)
            raise ValueError("on purpose")
    with database.read() as connection:
        assert retained.every(connection) == {} and telemetry.count(connection) == 0


def test_large_numbers_and_odd_texts_come_back_as_they_went_in(database: Database) -> None:
    state = DeviceState(
        device="one", session=2**53, boot="b\0b", at_s=1.0, agent_version="9.9.9", region="eu-west", tags=("a\0", "ü")
    )  # fmt: skip
    data = encode(state)[:-1] + b',"of_a_later_agent":[1,2]}'
    event = Event(device="one", boot="b\0", number=2**53, at_s=1.0, kind="k\0", text="t\0t", facts={"a\0": "\0"})
    with database.write() as connection:
        devices.put_state(connection, state, data, 5.0, live=True)
        row = AssignmentRow("one", 2**40, "eu-west", ("x",), b"\0\xff", frozen="", at_s=5.0, counts_from_s=5.0)
        devices.put_assignment(connection, row)
        assert events.add(connection, event, 1.0)
        assert not events.add(connection, event, 1.0)
        assert commands.last_number(connection, "one", "e") == 0
    with database.read() as connection:
        found = devices.find(connection, "one")
        (said,) = events.latest(connection)
    assert found is not None
    assert (found.state_bytes, found.session, found.assigned_number, found.assignment) == (
        data,
        2**53,
        2**40,
        b"\0\xff",
    )
    assert (said.text, said.facts) == ("t\N{REPLACEMENT CHARACTER}t", {"a\0": "\0"})


def test_a_rollout_survives_as_it_was_written(database: Database) -> None:
    facts = record(previous=assignment("a" * 64, 1))
    with database.write() as connection:
        number = rollouts.add(
            connection, region=facts.region, assignment=facts.assignment, release=facts.release, policy=facts.policy,
            previous=facts.previous, previous_policy=None, why="somebody", now=1000.0,
        )  # fmt: skip
        (found,) = rollouts.current(connection, "eu-west")
        assert (found.assignment.release.sha256, found.previous) == (NEW, facts.previous)
        rollouts.move(connection, found, kind="open", status="running", stage=1, why="2 of 2 proven", now=1100.0)
        (moved,) = rollouts.current(connection)
        assert (moved.stage, moved.why) == (1, "2 of 2 proven")
        assert [row.kind for row in rollouts.history(connection, number)] == ["start", "open"]


# Windows


def test_a_batch_is_kept_once_and_what_is_new_is_said(database: Database) -> None:
    first, second, third = (Placed("one", window(n), NOW - HOUR_S + n) for n in range(3))
    other = second._replace(device="two")
    with database.append() as connection:
        assert windows.add(connection, [first, second, first], NOW) == [first, second]
        assert windows.add(connection, [first, other, second, third, other], NOW) == [other, third]
        assert windows.add(connection, [], NOW) == []
        assert windows.known(connection, [first.key, ("one", "b", 77.0)]) == {first.key}
        assert telemetry.count(connection) == 4
        (row,) = telemetry.models(connection, "two", since_s=0.0)
    assert (row.requests, row.memory_bytes, row.latency.counts) == (4, 2**40, (1, 2, 1))


def test_a_forgotten_device_may_send_its_windows_again(database: Database) -> None:
    both = [Placed("one", window(1), NOW - 60), Placed("one", window(2), NOW - 60, by_arrival=True)]
    for _ in range(2):
        with database.append() as connection:
            assert windows.add(connection, both, NOW) == both
        with database.write() as connection:
            devices.forget(connection, "one")
    assert kept(database) == []


CLOCKS = {
    "right": {"start_s": NOW - 600},
    "late": {"start_s": NOW - 3 * DAY_S},
    "a little ahead": {"start_s": NOW + 200},
    "far ahead": {"start_s": NOW + 900},
    "none": {"start_s": 5.0, "clock_trusted": False},
    "at 1970": {"start_s": 5.0},
    "not trusted": {"start_s": NOW - 600, "clock_trusted": False},
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_whatever_its_clock_says_a_window_counts_once_however_late_it_comes_again(
    database: Database, clock: str
) -> None:
    said = message(window(1, **CLOCKS[clock]))  # type: ignore[arg-type]
    first: list[tuple[object, ...]] = []
    # Ten minutes later what was far ahead can be believed; after two days its place would be in another partition.
    for later in (0.0, 1.0, 700.0, 2 * DAY_S):
        taker, counters = intake(database, NOW + later)
        taker.handle([said])
        first = first or kept(database)
        assert kept(database) == first, f"again after {later} s"
        assert counters.get("windows_taken") == (0 if later else 1)
    assert len(first) == 2


stream = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(list(CLOCKS)), st.integers(0, 1)), min_size=1, max_size=12
)


def test_replayed_reordered_and_doubled_messages_leave_what_each_once_leaves(
    tmp_path: Path, postgres: Postgres
) -> None:
    stores = [Database(tmp_path / "server.sqlite3"), Database(postgres.new())]

    def empty() -> None:
        for store in stores:
            with store.write() as connection:
                for name in ("one", "two"):
                    devices.forget(connection, name)

    def take(store: Database, batches: Sequence[Sequence[Incoming]]) -> tuple[list[tuple[object, ...]], Counters]:
        taker, counters = intake(store)
        for batch in batches:
            taker.handle(batch)
        return kept(store), counters

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(said=stream, seed=st.integers(0, 2**32))
    def law(said: list[tuple[int, str, int]], seed: int) -> None:
        said = list({(n, d): (n, clock, d) for n, clock, d in said}.values())
        sent = [
            message(window(n, **CLOCKS[clock]), device=("one", "two")[d])  # type: ignore[arg-type]
            for n, clock, d in said
        ]
        chance = random.Random(seed)
        again = [*sent, *chance.choices(sent, k=len(sent))]
        chance.shuffle(again)
        cut = chance.randrange(len(again) + 1)
        found = []
        for store in stores:
            empty()
            once, _ = take(store, [[one] for one in sent])
            empty()
            other, counters = take(store, [again[:cut], again[cut:]] if 0 < cut < len(again) else [again])
            assert other == once
            assert counters.get("windows_taken") == len(sent)
            assert counters.get("windows_repeated") == len(again) - len(sent)
            found.append(once)
        assert found[0] == found[1], "the two databases differ"

    law()
    for store in stores:
        store.close()


HOSTILE: dict[str, dict[str, object]] = {
    "a count beyond everything": {"models": [{"requests": 2**70}]},
    "a count below nothing": {"models": [{"requests": -1}]},
    "more errors than requests": {"models": [{"errors": 9}]},
    "a sketch beyond its scale": {"models": [{"latency": {"offset": 2047, "counts": [1, 1]}}]},
    "a NUL in a release": {"models": [{"release": "fashion\0/1"}]},
    "a NUL in a boot": {"boot": "b\0"},
    "half a character": {"boot": "SURROGATE"},
    "not a number": {"started_monotonic_s": "NaN"},
    "without end": {"device": {"power_w": 1e300}},
    "a million seconds": {"seconds": 1e6},
    "before time began": {"start_s": -1e300},
    "nothing": {"models": None},
    "a model of another kind": {"models": [{"model": "../etc"}]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_window_changes_nothing_but_a_counter_and_costs_no_other(database: Database, name: str) -> None:
    good = msgspec.to_builtins(window(1))
    bad = {**msgspec.to_builtins(window(2)), **HOSTILE[name]}
    if isinstance(bad["models"], list):
        bad["models"] = [{**good["models"][0], **row} for row in bad["models"]]
    said = message(good, bad, good | {"started_monotonic_s": 3.0})
    plain = zlib.decompress(said.payload).replace(b'"SURROGATE"', b'"\\ud83d and more"').replace(b'"NaN"', b"NaN")
    said = replace(said, payload=zlib.compress(plain))
    taker, counters = intake(database)
    taker.handle([message(window(0)), said, message(window(9))])
    counted = counters.snapshot()
    whole = b"NaN" in plain or b"ud83d" in plain  # then it is no JSON at all
    assert counted["windows_taken"] == (2 if whole else 4), counters.reasons()
    assert (counted.get("windows_refused", 0), counted.get("telemetry_refused", 0)) == ((0, 1) if whole else (1, 0))
    assert "telemetry_faults" not in counted
    assert len(kept(database)) == 2 * counted["windows_taken"]


numbers = st.sampled_from(
    [0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, -(2**63), 0.5, -0.0, 1e9, 1e300, -1e300, 1e-300]
)
texts = st.text(max_size=12) | st.sampled_from(
    ["\0", "a\0b", "'; DROP TABLE windows --", "x" * 200, "\\u0000", "\ufffe"]
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    *Window.__struct_fields__,
    *DeviceWindow.__struct_fields__,
    *ModelWindow.__struct_fields__,
    "offset",
    "counts",
    "zero",
)


def spoil(value: object, path: int, with_what: object) -> object:
    """Return a document with one of its values, found by a number, in another's place."""
    if isinstance(value, dict) and value:
        key = sorted(value)[path % len(value)]
        return value | {key: spoil(value[key], path // len(value), with_what) if path // len(value) else with_what}
    if isinstance(value, list) and value:
        at = path % len(value)
        return [*value[:at], spoil(value[at], path // len(value), with_what), *value[at + 1 :]]
    return with_what


def test_whatever_a_window_holds_its_neighbours_are_kept_and_both_databases_agree(
    tmp_path: Path, postgres: Postgres
) -> None:
    stores = [Database(tmp_path / "server.sqlite3"), Database(postgres.new())]
    takers = [intake(store, keep=KeepConfig(windows_per_device_per_hour=10**6)) for store in stores]
    count = 0

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(
        path=st.integers(0, 5000), value=anything, more=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=2)
    )
    def attack(path: int, value: object, more: dict[str, object]) -> None:
        nonlocal count
        count += 1
        good = [msgspec.to_builtins(window(10 * count + n)) for n in range(2)]
        bad = spoil(msgspec.to_builtins(window(10 * count + 2)), path, value)
        if isinstance(bad, dict):
            bad |= {key: value for key, value in more.items() if key not in ("boot", "started_monotonic_s")}
        for taker, counters in takers:
            before = counters.snapshot()
            taker.handle([message(good[0], bad, good[1])])  # type: ignore[arg-type]
            gone = {name: n - before.get(name, 0) for name, n in counters.snapshot().items()}
            assert gone.get("telemetry_faults", 0) == 0, counters.reasons()
            said = sum(gone.get(f"windows_{name}", 0) for name in ("taken", "repeated", "refused", "too_old"))
            assert said == 3 and gone["telemetry_taken"] == 1
            assert gone["windows_taken"] >= 2 or gone.get("windows_repeated", 0)

    attack()
    assert takers[0][1].snapshot() == takers[1][1].snapshot()
    assert kept(stores[0]) == kept(stores[1])
    for store in stores:
        store.close()


def test_what_is_no_telemetry_of_its_device_is_refused_alone(database: Database) -> None:
    taker, counters = intake(database)
    bomb = replace(message(window(1)), payload=zlib.compress(bytes(50_000_000)))
    taker.handle([message(window(1)), message(window(2), device="two", topic="one"), bomb, message(window(3))])
    assert (counters.get("windows_taken"), counters.get("telemetry_refused")) == (2, 2)
    with database.read() as connection:
        assert [device.id for device in devices.every(connection)] == ["one"]


def test_a_message_that_we_cannot_store_costs_itself(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    as_usual = windows.facts_stored

    def fault(facts: DeviceWindow) -> bytes:
        if facts.power_w == 13:
            raise RuntimeError("nobody thought of this")
        return as_usual(facts)

    monkeypatch.setattr(windows, "facts_stored", fault)
    taker, counters = intake(database)
    taker.handle([message(window(1)), message(window(2, device=DeviceWindow(power_w=13.0))), message(window(3))])
    assert (counters.get("windows_taken"), counters.get("telemetry_faults")) == (2, 1)


def test_a_devices_share_of_an_hour_is_of_what_is_new(database: Database) -> None:
    keep = KeepConfig(windows_per_device_per_hour=4)
    taker, counters = intake(database, keep=keep)
    hour = NOW // HOUR_S * HOUR_S - HOUR_S
    rows = [window(n, start_s=hour + n) for n in range(7)]
    taker.handle([message(*rows[:3])])
    taker.handle([message(*rows[:3], rows[3])])  # what came again takes nobody's place
    assert (counters.get("windows_taken"), counters.get("windows_repeated")) == (4, 3)
    taker.handle([message(rows[0], *rows[4:])])
    assert (counters.get("windows_taken"), counters.get("windows_over_share")) == (4, 3)
    again, counters = intake(database, keep=keep)  # a process that knows nothing asks the database
    again.handle([message(rows[5]), message(rows[6], device="two")])
    assert (counters.get("windows_taken"), counters.get("windows_over_share")) == (1, 1)


def test_what_is_over_goes_and_the_rest_stays(database: Database) -> None:
    taker, _ = intake(database)
    old = [window(n, start_s=NOW - 6 * DAY_S + n) for n in range(3)]
    taker.handle([message(*old, window(10), window(11, start_s=NOW - DAY_S), window(12, clock_trusted=False))])
    pruned = pruning.prune(database, windows_before_s=NOW - 3 * DAY_S, events_before_s=0.0)
    assert pruned.events == 0
    assert len(kept(database)) == 2 * 3
    taker.handle([message(window(20, start_s=NOW - 2.5 * DAY_S))])  # its day is there, or is made anew
    assert len(kept(database)) == 2 * 4


def test_telemetry_can_be_read_on_from_a_place(database: Database) -> None:
    taker, _ = intake(database)
    taker.handle([message(window(n, start_s=NOW - 100)) for n in range(3)])
    with database.read() as connection:
        rows = follow.windows(connection, follow.since(connection, NOW - 200))
        assert len(rows) == 3
        place = follow.newest(connection)
        assert rows[-1].number == place
    taker.handle([message(window(1, start_s=NOW - 100), window(7))])
    with database.read() as connection:
        assert [row.placed_s for row in follow.windows(connection, place)] == [NOW - HOUR_S + 7]


def test_a_helper_needs_postgresql_and_the_servers_form(tmp_path: Path, postgres: Postgres) -> None:
    with pytest.raises(BadConfig, match="SQLite has one writer"):
        Database(tmp_path / "server.sqlite3", helper="ingest")
    url = postgres.new()
    with pytest.raises(ServerError, match="start the server of this version first"):
        Database(url, helper="ingest")
    server = Database(url)
    helper = Database(url, helper="ingest")
    helper.close()
    server.close()


def test_two_processes_that_get_the_same_messages_keep_each_once(postgres: Postgres) -> None:
    url = postgres.new()
    server = Database(url)
    helper = Database(url, helper="ingest")
    takers = [intake(one) for one in (server, helper)]
    said = [message(window(n, start_s=NOW - n * HOUR_S), device=f"d{n % 7}") for n in range(60)]

    def take(taker: Intake, seed: int) -> None:
        mine = said[:]
        random.Random(seed).shuffle(mine)
        for at in range(0, len(mine), 12):
            while True:
                try:
                    taker.handle(mine[at : at + 12])
                    break
                except Exception:  # two that wait for each other: one is told to begin again
                    continue

    threads = [threading.Thread(target=take, args=(taker, n)) for n, (taker, _) in enumerate(takers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counters.get("windows_taken") for _, counters in takers) == 60
    assert len(kept(server)) == 120
    helper.close()
    server.close()


def test_a_server_finds_its_database_again_and_is_still_the_only_one() -> None:
    with Postgres() as cluster:
        url = cluster.new()
        server = Database(url)
        taker, counters = intake(server)
        taker.handle([message(window(1))])
        cluster.stop()
        with pytest.raises(Exception, match=r"(?i)connection|server"):
            taker.handle([message(window(2))])
        assert counters.get("windows_taken") == 1, "what was not stored is not counted"
        cluster.start()
        taker.handle([message(window(2))])
        with server.write() as connection:
            retained.put(connection, {"t": ("d", 1)})
        with pytest.raises(ServerError, match="another server runs with"):
            Database(url)
        assert len(kept(server)) == 4
        server.close()


def test_regions_groups_freezes_and_devices_that_are_gone_are_kept(database: Database) -> None:
    first, second = RegionSettings(broker="mq:1"), RegionSettings()
    gone = decommissioned.Gone("one", "eu-west", "ana", "burnt", 1.0, "archive", b"\0state", None, None)
    with database.write() as connection:
        assert [regions.add(connection, "eu-west", row, "ana", "why", 1.0) for row in (first, second)] == [1, 2]
        for words in ("ana: first", "ana: second"):
            regions.freeze(connection, "eu-west", words, 1.0)
        for query in ("tag=a", "tag=b"):
            groups.put(connection, groups.GroupRow("doors", query, "ana", 1.0))
        for row in (gone, gone):
            decommissioned.add(connection, row)
        decommissioned.spoke(connection, "one", "state", 5.0)
    with database.read() as connection:
        assert [row.settings for row in regions.history(connection, "eu-west")] == [second, first]
        assert regions.freezes(connection) == {"eu-west": "ana: second"}
        assert [row.query for row in groups.after(connection)] == ["tag=b"]
        (found,) = decommissioned.who_spoke(connection, 5.0)
        assert (found.state, found.spoke_kind, decommissioned.names(connection)) == (b"\0state", "state", {"one"})
    with database.write() as connection:
        assert regions.thaw(connection, "eu-west", 2.0) and not regions.thaw(connection, "eu-west", 2.0)
        assert groups.drop(connection, "doors") and not groups.drop(connection, "doors")
        assert decommissioned.readmit(connection, "one")


def test_many_devices_are_assigned_in_one_transaction_and_a_long_answer_is_put_together(database: Database) -> None:
    with database.write() as connection:
        for name in ("one", "two"):
            state = DeviceState(device=name, session=1, boot="b", at_s=1.0, agent_version="9.9.9", region="eu-west")
            devices.put_state(connection, state, encode(state), 5.0, live=True)
        rows = [AssignmentRow(name, 7, "ap-south", ("x",), b"e", "ana: why", 6.0, 6.0) for name in ("one", "two")]
        devices.put_assignments(connection, rows)
        order = Command(device="one", number=1, epoch="e", expires_s=9.0, action="diag")
        number = commands.add(connection, order, "ana", 1.0)
        packed = zlib.compress(b"all of it")
        for place in (1, 0, 0):
            part = packed[place * 5 : place * 5 + 5] if not place else packed[5:]
            reply = Reply(device="one", number=1, epoch="e", ok=True, text="t", data=part, piece=place, pieces=2)
            commands.answer(connection, reply, 2.0)
    with database.read() as connection:
        assert devices.numbers(connection, ["one", "two", "none"]) == {"one": 7, "two": 7}
        assert devices.regions_of(connection, ["two"]) == {"two": "ap-south"}
        assert devices.find_many(connection, ["one"])["one"].frozen == "ana: why"
        assert pieces.read(connection, "one", number) == "all of it"
        assert [row.data_bytes for row in commands.latest(connection, "one")] == [len(packed)]
