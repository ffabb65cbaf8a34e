"""Roll-ups: whatever the order and grouping in which windows come, each counts once, in its minute, hour and day."""

import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from edgefleet_protocol.errors import BadDocument
from edgefleet_protocol.sketch import Sketch, SketchBuilder, merge
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, Window
from edgefleet_server.store import rollups
from edgefleet_server.store.database import Database
from edgefleet_server.store.dialect import insert
from edgefleet_server.store.schema import device_rollups, devices, model_rollups
from edgefleet_server.store.windows import Placed, ready
from edgefleet_server.telemetry.cells import Row, facts_of, rows_of, rows_packed, sums
from edgefleet_server.telemetry.distinct import Seen, count_all, mark_of
from edgefleet_server.telemetry.drift import drift
from edgefleet_server.telemetry.packed import Pile, pack, unpack

NOON_S = 1_800_000_000 // 86400 * 86400 + 43_200


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "server.sqlite3")


def sketch(values: Iterable[float]):
    builder = SketchBuilder()
    for value in values:
        builder.add(value)
    return builder.build()


def window(rng: random.Random, number: int) -> Placed:
    """A window anywhere within two days: late ones and early ones among them."""
    values = [rng.lognormvariate(-4, 0.5) for _ in range(rng.randint(1, 40))]
    model = ModelWindow(
        model="fashion",
        release="fashion/1",
        release_sha256="0" * 64,
        variant=rng.choice(["int8", "fp32"]),
        requests=len(values) + 1,
        errors=1,
        latency=sketch(values),
        confidence=sketch(rng.random() for _ in values),
        memory_bytes=rng.randint(10**7, 10**8),
    )
    facts = DeviceWindow(
        temperature_c=rng.uniform(-5, 80),
        power_w=rng.choice([None, 4.0]),
        throttled=rng.choice([None, (), ("capped",)]),
    )
    place = NOON_S + rng.uniform(-86_400, 86_400)
    own = Window(
        start_s=place, seconds=60.0, boot="b", started_monotonic_s=float(number), device=facts, models=(model,)
    )
    return Placed(rng.choice(DEVICES), own, place)


DEVICES = [f"{region}-{board}-{n}" for region in ("eu", "us") for board in ("pi4", "pi5") for n in range(5)]
"""Where and what a device is stands in its name."""


def add(connection: Connection, rows: list[Placed]) -> None:
    """Store them as ingest does, of devices that are known."""
    for name in {row.device for row in rows}:
        region, board, _ = name.split("-")
        values = {"id": name, "first_seen_s": 0.0, "region": region, "hardware_class": board}
        connection.execute(insert(connection, devices).values(values).on_conflict_do_nothing())
    rollups.add(connection, [ready(row, NOON_S) for row in rows], NOON_S)


def plain(rows: list[Placed]) -> list[Row]:
    return rows_of(rows_packed([ready(row, NOON_S).waiting(*row.device.split("-")[:2]) for row in rows]))


def tables(database: Database):
    """Everything in the roll-ups, without how floating-point sums were grouped."""
    with database.read() as connection:
        models = [
            tuple(round(value, 6) if isinstance(value, float) else value for value in row)
            for row in connection.execute(select(model_rollups).order_by(*model_rollups.primary_key)).all()
        ]
        devices = [
            (row[:6], facts_of(row.facts), row.seen)
            for row in connection.execute(select(device_rollups).order_by(*device_rollups.primary_key)).all()
        ]
    return models, [
        (head, facts.throttled, facts.temperature_c.n, facts.reasons, seen) for head, facts, seen in devices
    ]


def fold_all(database: Database, limit: int) -> None:
    count = 1
    while count:
        with database.write() as connection:
            count = rollups.fold(connection, limit).batches


def test_any_order_and_grouping_gives_the_same_rollups(tmp_path: Path) -> None:
    rng = random.Random(7)
    rows = [window(rng, number) for number in range(120)]
    seen = []
    for turn, (batch, limit) in enumerate(((120, 500), (7, 3), (1, 10))):
        database = Database(tmp_path / f"{turn}" / "server.sqlite3")
        rng.shuffle(rows)
        for start in range(0, len(rows), batch):
            with database.write() as connection:
                add(connection, rows[start : start + batch])
            if turn == 1:
                fold_all(database, limit)
        fold_all(database, limit)
        seen.append(tables(database))
        database.close()
    assert seen[0] == seen[1] == seen[2]


def test_every_grain_and_resolution_holds_the_windows_of_its_own_place(database: Database) -> None:
    rng = random.Random(3)
    rows = [window(rng, number) for number in range(150)]
    with database.write() as connection:
        add(connection, rows)
        rollups.fold(connection)
        found = connection.execute(select(model_rollups)).all()
    for resolution, length_s in rollups.RESOLUTIONS.items():
        for grain in range(5):
            those = [row for row in found if (row.resolution, row.grain) == (resolution, grain)]
            assert sum(row.requests for row in those) == sum(row.window.models[0].requests for row in rows)
        for row in [row for row in found if (row.resolution, row.grain) == (resolution, rollups.CLASS)]:
            own = [
                one
                for one in rows
                if one.placed_s // length_s * length_s == row.start_s
                and (*one.device.split("-")[:2], one.window.models[0].variant)
                == (row.region, row.hardware_class, row.variant)
            ]
            whole = merge(one.window.models[0].latency for one in own)
            assert unpack(row.latency).quantile(0.95) == whole.quantile(0.95)
            assert (row.windows, row.errors) == (len(own), len(own))
            assert row.memory_max_bytes == max(one.window.models[0].memory_bytes or 0 for one in own)


def test_a_fold_that_fails_leaves_everything_to_be_folded_again(database: Database) -> None:
    with database.write() as connection:
        add(connection, [window(random.Random(1), 1)])
    with pytest.raises(RuntimeError), database.write() as connection:
        assert rollups.fold(connection).batches == 1
        raise RuntimeError("the process is killed here")
    assert tables(database) == ([], [])
    fold_all(database, 10)
    with database.read() as connection:
        assert rollups.gather(connection) is None
    assert len(tables(database)[0]) == 3 * 5


def test_two_that_fold_the_same_count_it_once(database: Database) -> None:
    rng = random.Random(4)
    rows = [window(rng, number) for number in range(40)]
    with database.write() as connection:
        add(connection, rows)
    with database.read() as connection:
        one, other = rollups.gather(connection), rollups.gather(connection)
    assert one is not None and other is not None
    with database.write() as connection:
        rollups.put(connection, one)
    before = tables(database)
    with pytest.raises(rollups.Taken), database.write() as connection:
        rollups.put(connection, other)
    assert tables(database) == before


def test_a_fold_takes_no_more_than_its_share_and_the_rest_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "MOST_BYTES", 1)
    rng = random.Random(5)
    for number in range(3):
        with database.write() as connection:
            add(connection, [window(rng, number)])
    with database.write() as connection:
        assert [rollups.fold(connection).batches for _ in range(4)] == [1, 1, 1, 0]


def test_what_waits_comes_back_from_its_bytes_as_it_was() -> None:
    rows = plain([window(random.Random(n), n) for n in range(30)])
    assert rows_of(rows_packed(rows)) == rows


def test_sources_of_energy_are_never_added_to_one_another() -> None:
    cells = sums(plain([window(random.Random(n), n) for n in range(40)])).devices.values()
    measured = [energy for cell in cells for energy in cell.facts.energy.values()]
    assert measured and all(abs(energy.joules / energy.seconds - 4.0) < 1e-9 for energy in measured)


@pytest.mark.parametrize("highest", (1, 300, 70_000, 2**40))
def test_a_packed_histogram_is_read_as_it_was_whatever_its_counts(highest: int) -> None:
    rng = random.Random(highest)
    pile = Pile()
    for _ in range(20):
        pile.add_counts(rng.randint(-300, 300), [rng.randint(0, highest) for _ in range(rng.randint(0, 50))], 3)
    assert unpack(pile.packed()) == pile.sketch() and pack(pile.sketch()) == pile.packed()


@pytest.mark.parametrize("count", (0, 1, 50, 500, 20_000))
def test_devices_are_counted_within_a_tenth_and_once(count: int) -> None:
    halves = Seen(), Seen()
    for number in range(count):
        halves[number % 2].add(mark_of(f"device-{number}"))
        halves[0].add(mark_of("device-0"))
    whole = Seen()
    for half in halves:
        whole.merge_packed(half.packed())
    assert abs(whole.estimate() - count) <= max(1, 0.1 * count)


def confidences(rng: random.Random, n: int, power: float):
    return sketch(rng.random() ** power for _ in range(n))


def test_without_drift_there_is_no_alarm_in_three_hundred_looks() -> None:
    rng = random.Random(11)
    alarms = 0
    for _ in range(300):
        n = rng.choice([1000, 1500, 3000])
        alarms += drift(confidences(rng, n, 0.2), confidences(rng, n, 0.2)).alarm
    assert alarms == 0


def test_a_shift_is_an_alarm_and_few_answers_say_nothing() -> None:
    rng = random.Random(12)
    assert drift(confidences(rng, 2000, 0.2), confidences(rng, 2000, 0.5)).alarm
    sure, less_sure = sketch([0.99] * 2000), sketch([0.99] * 1500 + [0.5] * 500)
    assert drift(sure, less_sure).alarm
    assert drift(sure, sketch([0.5] * 999)).psi is None


@pytest.mark.parametrize("data", (b"", b"\x01", b"\x07" + bytes(10), b"\x02" + bytes(11), b"\x00" + bytes(12)))
def test_damaged_bytes_of_a_histogram_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(BadDocument, match="a stored histogram is damaged"):
        unpack(data)


def true_quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least a share `q` of the values do not exceed."""
    return sorted(values)[max(1, math.ceil(q * len(values))) - 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(1e-6, 1e4), max_size=60), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
    st.floats(0.0, 1.0),
)
def test_percentiles_of_merged_parts_are_true_whatever_the_parts(
    parts: list[list[float]], rng: random.Random, q: float
) -> None:
    piles = []
    for part in parts:
        pile = Pile()
        pile.add_packed(pack(sketch(part)))
        piles.append(pile)
    rng.shuffle(piles)
    while len(piles) > 1:  # merged two by two, in any order
        one, other = piles.pop(rng.randrange(len(piles))), piles.pop(rng.randrange(len(piles)))
        one.add_packed(other.packed())
        piles.append(one)
    values = [value for part in parts for value in part]
    assert piles[0].sketch() == sketch(values)
    (found,) = piles[0].quantiles(q)
    assert found == piles[0].sketch().quantile(q)
    if values:
        assert found == pytest.approx(true_quantile(values, q), rel=0.0222)
    else:
        assert found is None


def test_a_device_that_makes_up_names_does_not_fill_what_is_kept_for_years(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "MOST_KINDS", 10)
    rng = random.Random(2)
    for batch in range(4):
        rows = []
        for number in range(30):
            name = f"made-up-{batch}-{number}"
            model = ModelWindow(
                model="fashion", release=name, release_sha256="0" * 64, variant="x", requests=1, latency=sketch([0.1])
            )
            own = Window(start_s=NOON_S, seconds=60.0, boot="b", started_monotonic_s=rng.random(), models=(model,))
            rows.append(Placed("eu-pi4-0", own, float(NOON_S)))
        with database.write() as connection:
            add(connection, rows)
        fold_all(database, 500)
    with database.read() as connection:
        found = connection.execute(select(model_rollups)).all()
    days = [row for row in found if (row.resolution, row.grain) == (rollups.DAY, rollups.CLASS)]
    assert len(days) == 11 and sum(row.requests for row in days) == 120
    assert next(row.requests for row in days if row.release == "other") == 110


def test_what_a_hostile_window_counts_stays_within_what_the_tables_hold(database: Database) -> None:
    most = 2**53
    model = ModelWindow(
        model="fashion", release="fash\0ion/1", release_sha256="0" * 64, variant="x", requests=most, errors=most,
        latency=Sketch(offset=0, counts=(most,), zero=most), confidence=Sketch(offset=2000, counts=(most, most)),
        memory_bytes=most,
    )  # fmt: skip
    facts = DeviceWindow(power_w=1e9, temperature_c=-1e8, throttled=tuple(f"reason {n}" for n in range(16)))
    for number in range(6):
        rows = []
        for more in range(20):
            own = Window(
                start_s=0.0, seconds=86400.0, boot="b", started_monotonic_s=float(more), device=facts, models=(model,)
            )
            rows.append(Placed("eu-pi4-0", own, NOON_S + 60.0 * number))
        with database.write() as connection:
            add(connection, rows)
        fold_all(database, 500)
    with database.read() as connection:
        found = connection.execute(select(model_rollups).where(model_rollups.c.resolution == rollups.DAY)).all()
    assert {(row.requests, row.errors, row.windows) for row in found} == {(most, most, 120)}
    assert all(unpack(row.latency).counts == (most,) for row in found)
    assert {row.release for row in found} == {"", "other"}


@pytest.mark.parametrize("counts", ((), (0,), (5, 40), (400, 3000, 20_000)))
def test_the_union_of_what_was_seen_is_that_of_merging_one_by_one(counts: tuple[int, ...]) -> None:
    whole, packed = Seen(), []
    for part, count in enumerate(counts):
        seen = Seen()
        for number in range(count):
            seen.add(mark_of(f"{number % 50}-{part % 2}-{number}"))
        packed.append(seen.packed())
        whole.merge(seen)
    assert count_all([*packed, None]) == whole.estimate()
