"""A fleet's telemetry written straight into the tables: as many rows as a fleet of that size leaves, with plausible values.

Rows of one group are not the sums of another's: what is measured is reading them, and a test elsewhere checks the sums.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, ModelState, Running
from edgefleet_protocol.sketch import Sketch, SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow
from edgefleet_server.store.database import Database
from edgefleet_server.store.rollups import CLASS, FLEET, REGION, REGION_VERSION, RESOLUTIONS, VERSION
from edgefleet_server.store.schema import device_rollups, devices, model_rollups, windows
from edgefleet_server.telemetry.cells import DeviceFacts, Energy, Spread, facts_packed
from edgefleet_server.telemetry.distinct import Seen, mark_of
from edgefleet_server.telemetry.packed import pack
from edgefleet_server.telemetry.stored import facts_stored, models_stored

MODEL = "fashion"
RELEASES = ("fashion/1", "fashion/2")
CLASSES = {"pi-4": "int8", "pi-5": "int8", "pi-zero-2": "int8-small", "jetson-orin": "fp16", "x86": "fp32"}
"""Hardware class -> the variant that it runs."""
MINUTE_DAYS = 2
DAY_S, HOUR_S, MINUTE_S = 86400, 3600, 60
BATCH = 20_000
POOL = 40


@dataclass(frozen=True)
class Shape:
    """How large the fleet is."""

    devices: int
    regions: tuple[str, ...]
    days: int
    sampled: int
    """Devices with a day of windows."""


@dataclass(frozen=True)
class Built:
    """What was written: rows and bytes on disk."""

    rollup_rows: int
    rollup_bytes: int
    rows_per_day: float
    """Roll-ups that one day adds."""
    now_s: float
    window_rows: int
    window_bytes: int


def build(database: Database, path: Path, shape: Shape, now: float) -> Built:
    """Fill the tables up to `now`."""
    rng = random.Random(1)
    _put(database, devices, _devices(shape, now))
    before = _size(database, path)
    rows = _put(database, model_rollups, _models(shape, now, rng))
    rows += _put(database, device_rollups, _boards(shape, now, rng))
    between = _size(database, path)
    names = [f"d{number:06}" for number in range(0, shape.devices, max(1, shape.devices // shape.sampled))]
    counted = _put(database, windows, _windows(names, now, rng))
    a_day = 0.0
    with database.read() as connection:
        for table in ("model_rollups", "device_rollups"):
            for resolution, kept in ((0, MINUTE_DAYS), (1, shape.days), (2, shape.days)):
                query = f"SELECT count(*) FROM {table} WHERE resolution = {resolution}"
                a_day += int(connection.exec_driver_sql(query).scalar() or 0) / kept
    return Built(rows, between - before, a_day, now, counted, _size(database, path) - between)


def _size(database: Database, path: Path) -> int:
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def _put(database: Database, table: Any, rows: Iterable[dict[str, Any]]) -> int:
    columns = [column.name for column in table.c]
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    count, batch = 0, []
    for row in rows:
        batch.append(tuple(row[name] for name in columns))
        if len(batch) == BATCH:
            count += _flush(database, statement, batch)
    return count + _flush(database, statement, batch)


def _flush(database: Database, statement: str, batch: list[tuple[Any, ...]]) -> int:
    count = len(batch)
    if batch:
        with database.write() as connection:
            connection.exec_driver_sql(statement, batch)
        batch.clear()
    return count


def sketch(rng: random.Random, n: int, middle: float, spread: float) -> Sketch:
    """Return a histogram of n values."""
    builder = SketchBuilder()
    for _ in range(n):
        builder.add(rng.lognormvariate(middle, spread))
    return builder.build()


def _scaled(one: Sketch, times: int) -> bytes:
    return pack(Sketch(offset=one.offset, counts=tuple(count * times for count in one.counts), zero=one.zero * times))


def _devices(shape: Shape, now: float) -> Iterator[dict[str, Any]]:
    classes = list(CLASSES)
    for number in range(shape.devices):
        name, kind = f"d{number:06}", classes[number % len(classes)]
        region = shape.regions[number % len(shape.regions)]
        runs = Running(
            release=RELEASES[1], release_sha256="b" * 64, variant=CLASSES[kind], variant_sha256="c" * 64, since_s=now,
            proven=True,
        )  # fmt: skip
        state = DeviceState(
            device=name, session=1, boot="b", at_s=now, agent_version="0.1.0", region=region,
            models=(ModelState(model=MODEL, phase="proven", why="it runs", running=runs),),
        )  # fmt: skip
        yield {
            **{column.name: None for column in devices.c},
            "id": name, "first_seen_s": now - DAY_S, "last_seen_s": now, "online": True, "session": 1, "boot": "b",
            "region": region, "tags": "[]", "hardware_class": kind, "state": encode(state), "state_at_s": now,
            "assigned_number": 0, "assigned_tags": "[]", "dropped_windows": 0,
        }  # fmt: skip


def _starts(shape: Shape, now: float) -> Iterator[tuple[int, int]]:
    for resolution, length_s in RESOLUTIONS.items():
        kept_s = (MINUTE_DAYS if length_s == MINUTE_S else shape.days) * DAY_S
        first = int((now - kept_s) // length_s)
        for step in range(first, int(now // length_s) + 1):
            yield resolution, step * length_s


def _seen(count: int, salt: str) -> bytes:
    seen = Seen()
    for number in range(count):
        seen.add(mark_of(f"{salt}-{number}"))
    return seen.packed()


def _models(shape: Shape, now: float, rng: random.Random) -> Iterator[dict[str, Any]]:
    here = max(1, shape.devices // len(shape.regions))
    a_class = max(1, here // len(CLASSES))
    pool = {variant: [sketch(rng, 600, -4.0, 0.3) for _ in range(POOL)] for variant in {*CLASSES.values(), ""}}
    sure = [sketch(rng, 600, -0.1, 0.08) for _ in range(POOL)]
    seen = {count: [_seen(count, str(n)) for n in range(6)] for count in {a_class, 2 * a_class, here, shape.devices}}
    packed: dict[tuple[int, int], bytes] = {}

    def histogram(kind: str, number: int, times: int) -> bytes:
        one = pool[kind][number] if kind != "sure" else sure[number]
        return packed.setdefault((id(one), times), _scaled(one, times))

    def row(place: tuple[Any, ...], count: int, variant: str) -> dict[str, Any]:
        resolution, grain = place[:2]
        times = count * RESOLUTIONS[resolution] // MINUTE_S
        number = rng.randrange(POOL)
        names = ("resolution", "grain", "region", "start_s", "model", "release", "variant", "hardware_class")
        return {
            **dict(zip(names, place, strict=True)),
            "windows": times, "requests": 600 * times, "errors": 0, "memory_windows": times, "memory_sum_bytes": 6e7 * times,
            "memory_max_bytes": 90_000_000, "latency": histogram(variant, number, times),
            "confidence": histogram("sure", number, times),
            "seen": rng.choice(seen[count]) if resolution and grain != CLASS else None,
        }  # fmt: skip

    variants = sorted(set(CLASSES.values()))
    for resolution, at in _starts(shape, now):
        yield row((resolution, FLEET, "", at, MODEL, "", "", ""), shape.devices, "")
        # Each region takes the new release on a day of its own; on that day both run.
        day = shape.days - int((now - at) // DAY_S)
        for variant in variants:
            for release in RELEASES:
                yield row((resolution, VERSION, "", at, MODEL, release, variant, ""), shape.devices, variant)
        for number, region in enumerate(shape.regions):
            turn = number * shape.days // len(shape.regions)
            running = RELEASES if day == turn else (RELEASES[day > turn],)
            yield row((resolution, REGION, region, at, MODEL, "", "", ""), here, "")
            for release in running:
                for variant in variants:
                    count = a_class * sum(one == variant for one in CLASSES.values())
                    yield row((resolution, REGION_VERSION, region, at, MODEL, release, variant, ""), count, variant)
                for kind, variant in CLASSES.items():
                    yield row((resolution, CLASS, region, at, MODEL, release, variant, kind), a_class, variant)


def _boards(shape: Shape, now: float, rng: random.Random) -> Iterator[dict[str, Any]]:
    here = max(1, shape.devices // len(shape.regions))
    seen = {count: _seen(count, "board") for count in (here, shape.devices, max(1, here // len(CLASSES)))}

    def facts(count: int) -> bytes:
        def spread(low: float, high: float) -> Spread:
            return Spread(count, count * rng.uniform(low, high), low, high)

        found = DeviceFacts(
            temperature_c=spread(30.5, 71.2), cpu_percent=spread(3.1, 88.4), battery_percent=spread(20.0, 100.0),
            power_w=spread(2.5, 7.5), memory_available_bytes=spread(3e8, 6e9), storage_free_bytes=spread(1e9, 2e10),
            agent_memory_bytes=spread(3e7, 4e7), throttle_told=count, throttled=count // 50, reasons={"capped": count // 50},
            energy={"ina3221": Energy(4.0 * count, count, 600 * count), "pmic": Energy(5.0 * count, count, 600 * count)},
        )  # fmt: skip
        return facts_packed(found)

    pool = {count: [facts(count) for _ in range(POOL)] for count in seen}
    for resolution, at in _starts(shape, now):
        places = [(FLEET, "", "", shape.devices)]
        for region in shape.regions:
            places.append((REGION, region, "", here))
            places += [(CLASS, region, kind, max(1, here // len(CLASSES))) for kind in CLASSES]
        for grain, region, kind, count in places:
            yield {
                "resolution": resolution, "grain": grain, "region": region, "start_s": at, "hardware_class": kind,
                "windows": count, "facts": rng.choice(pool[count]), "seen": seen[count] if resolution else None,
            }  # fmt: skip


def _moments(now: float) -> Iterator[float]:
    for minute in range(DAY_S // MINUTE_S):
        yield now - DAY_S + minute * MINUTE_S


def _windows(names: list[str], now: float, rng: random.Random) -> Iterator[dict[str, Any]]:
    facts = [
        facts_stored(
            DeviceWindow(
                cpu_percent=rng.uniform(1, 90), memory_available_bytes=rng.randint(10**8, 10**10),
                storage_free_bytes=rng.randint(10**8, 10**10), temperature_c=rng.uniform(20, 80), throttled=(),
                power_w=rng.uniform(2, 8), battery_percent=rng.uniform(10, 100), battery_charging=False,
                agent_memory_bytes=rng.randint(3 * 10**7, 4 * 10**7),
            )
        )
        for _ in range(500)
    ]  # fmt: skip
    models = {
        (release, variant): [
            models_stored(
                [
                    ModelWindow(
                        model=MODEL, release=release, release_sha256="a" * 64, variant=variant, requests=600,
                        latency=sketch(rng, 600, -4.0, 0.3), confidence=sketch(rng, 600, -0.1, 0.08), memory_bytes=60_000_000,
                    )
                ]
            )
            for _ in range(100)
        ]
        for release in RELEASES
        for variant in dict.fromkeys(CLASSES.values())
    }  # fmt: skip
    variants = list(CLASSES.values())
    for at in _moments(now):  # in the order in which they come
        for number, name in enumerate(names):
            yield {
                "device": name, "boot": "0f1e2d3c-0000-4000-8000-000000000000", "started_monotonic_s": at, "placed_s": at,
                "seconds": 60.0, "received_s": at + 60.0, "facts": rng.choice(facts), "requests": 600,
                "models": rng.choice(models[RELEASES[at > now - DAY_S / 3], variants[number % 5]]),
            }  # fmt: skip
