"""Every view of telemetry: true percentiles of exactly the windows that it speaks of, and rights in regions."""

import random
import re
import time
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event
from edgefleet_protocol.sketch import Sketch, SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, TelemetryBatch, Window
from edgefleet_server.alerts.config import AlertsConfig
from edgefleet_server.alerts.rules import Rule
from edgefleet_server.app import Server
from edgefleet_server.client import Api
from edgefleet_server.config import HttpConfig
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.store import devices, events, rollups, telemetry, tokens
from edgefleet_server.store.schema import windows as windows_table
from edgefleet_server.store.windows import Placed, ready
from tests.fakes.scripted_device import PI4
from tests.fakes.web_server import WebServer

from .conftest import MakeServer
from .test_rollups import true_quantile

HOUR_S, DAY_S = 3600.0, 86400.0
FLEET = {"west-1": "eu-west", "west-2": "eu-west", "south-1": "ap-south"}
DRIFTS = AlertsConfig(rules=(Rule("drifts", "drift", limit=0.1, clear=0.08, for_s=0.0, clear_s=0.0, at_least=1000),))


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server that asks for tokens, with three devices in two regions, and no broker."""
    server = make_server(1, http=HttpConfig(), alerts=DRIFTS)
    for name, region in FLEET.items():
        state = DeviceState(device=name, session=1, boot="b", at_s=1.0, agent_version="1", region=region, hardware=PI4)
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    yield server
    server.database.close()


def sketch(values: list[float]) -> Sketch:
    builder = SketchBuilder()
    for value in values:
        builder.add(value)
    return builder.build()


def answered(
    server: Server,
    device: str,
    ago_s: float,
    seconds: list[float],
    *,
    variant: str = "int8",
    confidence: list[float] | None = None,
    **facts: Any,
) -> None:
    """Store one window as ingest does."""
    now = time.time()
    row = ModelWindow(
        model="fashion", release="fashion/1", release_sha256="b" * 64, variant=variant, requests=len(seconds),
        latency=sketch(seconds), confidence=None if confidence is None else sketch(confidence), memory_bytes=50_000_000,
    )  # fmt: skip
    window = Window(
        start_s=now - ago_s, seconds=60.0, boot="b", started_monotonic_s=now - ago_s, device=DeviceWindow(**facts),
        models=(row,),
    )  # fmt: skip
    with server.database.write() as connection:
        assert telemetry.add(connection, device, window, now - ago_s, now)
        rollups.add(connection, [ready(Placed(device, window, now - ago_s), now)], now)


def ask(server: Server, path: str, *regions: str) -> Any:
    with server.database.write() as connection:
        secret = tokens.new(connection, "ana", "viewer", frozenset(regions) or None, time.time(), 600.0)[1]
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    answer = client.get(f"/v1/telemetry/{path}", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_view_shows_the_true_percentiles_of_what_it_speaks_of(server: Server) -> None:
    rng, values = random.Random(5), dict[tuple[str, str], list[float]]()
    for device in FLEET:
        for ago_s in (60.0, 2 * HOUR_S, 5 * HOUR_S, 20 * HOUR_S, 3 * DAY_S):
            variant = rng.choice(["int8", "fp32"])
            # Few slow ones on one device and many fast ones on another: means of percentiles would lie far off.
            mine = [rng.lognormvariate(-5 if device == "west-1" else -2, 0.6) for _ in range(rng.randint(5, 400))]
            answered(server, device, ago_s, mine, variant=variant, temperature_c=50.0, power_w=4.0, throttled=())
            if ago_s < DAY_S:
                values.setdefault((FLEET[device], variant), []).extend(mine)
    server.roller.turn()

    def check(shown: dict[str, Any], region: str | None, variant: str | None) -> None:
        own = [
            value for (where, which), found in values.items() if region in (None, where) and variant in (None, which)
            for value in found
        ]  # fmt: skip
        assert shown["requests"] == len(own)
        for name, q in (("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99)):
            assert shown[name] == pytest.approx(true_quantile(own, q), rel=0.0222), (region, variant, name)

    fleet = ask(server, "fleet")
    check(fleet["models"][0]["whole"], None, None)
    assert {row["region"] for row in fleet["regions"]} == {"eu-west", "ap-south"}
    for row in fleet["regions"]:
        check(row, row["region"], None)
    assert fleet["models"][0]["whole"]["devices"] == 3 and fleet["boards"]["temperature_c"]["mean"] == 50.0
    west = ask(server, "regions/eu-west", "eu-west")
    check(west["models"][0]["whole"], "eu-west", None)
    for row in west["variants"]:
        check(row, "eu-west", row["variant"])
    release = ask(server, "releases/fashion/1")
    for row in release["variants"]:
        check(row["whole"], None, row["whole"]["variant"])
    for row in release["regions"]:
        check(row, row["region"], row["variant"])
    compared = ask(server, "compare/eu-west?a=fashion/1:int8&b=fashion/1:fp32")
    for side in ("a", "b"):
        if compared[side] is not None:
            check(compared[side]["whole"], "eu-west", compared[side]["whole"]["variant"])
    partial = ask(server, "fleet", "ap-south")
    check(partial["models"][0]["whole"], "ap-south", None)
    assert "eu-west" not in str(partial) and partial["boards"]["devices"] == 1


@pytest.mark.parametrize("last_s", (HOUR_S, DAY_S, 30 * DAY_S))
def test_a_series_has_every_request_of_its_span_in_its_step(server: Server, last_s: float) -> None:
    for ago_s in (30.0, 0.6 * HOUR_S, 0.8 * DAY_S, 20 * DAY_S):
        answered(server, "west-1", ago_s, [0.01] * 7)
    server.roller.turn()
    fleet = ask(server, f"fleet?last_s={last_s}")
    series, span = fleet["models"][0]["series"], fleet["span"]
    assert sum(series["requests"]) == fleet["models"][0]["whole"]["requests"]
    assert sum(series["requests"]) == 7 * sum(ago_s < last_s for ago_s in (30.0, 0.6 * HOUR_S, 0.8 * DAY_S, 20 * DAY_S))
    assert all(at_s % span["step_s"] == 0 and span["from_s"] <= at_s < span["to_s"] for at_s in series["at_s"])
    assert len({len(column) for column in series.values()}) == 1


def test_a_device_shows_what_it_ran_and_measured_with_the_marks_of_updates(server: Server) -> None:
    for number in range(30):
        answered(
            server, "west-1", 3600.0 - 60 * number, [0.02] * 4, variant="fp32" if number < 15 else "int8",
            temperature_c=40.0 + number, battery_percent=90.0 - number, throttled=("capped",) if number == 9 else (),
            power_w=5.0, agent_memory_bytes=30_000_000,
        )  # fmt: skip
    event = Event(
        device="west-1", boot="b", number=1, at_s=time.time() - 2700, kind="activated", text="it runs", model="fashion",
        release="fashion/1", variant="int8",
    )  # fmt: skip
    with server.database.write() as connection:
        events.add(connection, event, time.time())
    device = ask(server, "devices/west-1")
    (model,) = device["models"]
    assert model["whole"]["requests"] == 120 and model["whole"]["memory_max_bytes"] == 50_000_000
    assert [(row["release"], row["variant"]) for row in model["runs"]] == [("fashion/1", "fp32"), ("fashion/1", "int8")]
    assert next(n for n, one in enumerate(model["run"]) if one) == model["run"].count(0)
    assert [row["kind"] for row in device["marks"]] == ["activated"]
    (energy,) = device["energy"]
    assert (energy["joules"], energy["requests"]) == (30 * 60 * 5.0, 120)
    assert energy["joules_per_request"] == pytest.approx(75.0)
    series = device["series"]
    assert max(series["temperature_c"]) == 69.0 and series["battery_percent"][-1] == 61.0
    assert [reasons for reasons in series["throttled"] if reasons] == [["capped"]]
    assert ask(server, "devices/west-2")["models"] == []


def test_two_variants_are_compared_by_class_too_and_say_how_far_their_answers_differ(server: Server) -> None:
    rng = random.Random(6)
    for device, variant, slow, power in (("west-1", "int8", 1.0, 0.1), ("west-2", "fp32", 3.0, 0.9)):
        times = [slow * rng.lognormvariate(-4, 0.1) for _ in range(1500)]
        answered(server, device, 120.0, times, variant=variant, confidence=[rng.random() ** power for _ in range(1500)])
    server.roller.turn()
    compared = ask(server, "compare/eu-west?a=fashion/1:int8")
    assert (compared["a"]["whole"]["variant"], compared["b"]["whole"]["variant"]) == ("int8", "fp32")
    assert compared["p95_ratio"] == pytest.approx(3.0, rel=0.05) and compared["between"]["alarm"]
    (board,) = compared["a"]["classes"]
    assert board["requests"] == 1500 and board["p95_s"] == compared["a"]["whole"]["p95_s"]
    here = ask(server, f"compare/eu-west?hardware_class={quote(board['hardware_class'])}")
    assert {here[side]["whole"]["variant"] for side in ("a", "b")} == {"int8", "fp32"}
    nowhere = ask(server, "compare/eu-west?hardware_class=none&a=fashion/1:int8")
    assert (nowhere["a"], nowhere["b"], nowhere["p95_ratio"]) == (None, None, None)


def test_a_window_that_comes_again_or_late_counts_once_and_in_its_own_hour(server: Server) -> None:
    now = time.time()
    model = ModelWindow(
        model="fashion", release="fashion/1", release_sha256="b" * 64, variant="int8", requests=3,
        latency=sketch([0.01, 0.02, 0.03]),
    )  # fmt: skip
    sent = []
    for number, ago_s in enumerate((30.0, 5 * HOUR_S, 22 * HOUR_S)):
        window = Window(start_s=now - ago_s, seconds=60.0, boot="b", started_monotonic_s=float(number), models=(model,))
        sent.append(zlib.compress(encode(TelemetryBatch(device="west-1", windows=(window,)))))
    for payload in (sent[0], sent[2], sent[0], sent[1], sent[2]):
        topic = "edgefleet/v1/demo/telemetry/west-1"
        server.router.handle([Incoming(topic=topic, payload=payload, retained=False, session=1, mid=1, qos=1)])
        server.roller.turn()
    fleet = ask(server, "fleet")
    assert fleet["models"][0]["whole"]["requests"] == 9 and fleet["models"][0]["series"]["requests"] == [3, 3, 3]
    hours = [int((now - ago_s) // HOUR_S * HOUR_S) for ago_s in (22 * HOUR_S, 5 * HOUR_S, 30.0)]
    assert fleet["models"][0]["series"]["at_s"] == hours


def test_names_that_cannot_be_are_not_found(server: Server) -> None:
    with server.database.write() as connection:
        secret = tokens.new(connection, "ana", "viewer", None, time.time(), 600.0)[1]
    client = TestClient(server.web, base_url="http://127.0.0.1:8300", headers={"Authorization": f"Bearer {secret}"})
    for path in ("devices/a%00b", "devices/A", "releases/a%00b/1", "releases/never/7", "regions/a%00b", "compare/mars"):
        assert client.get(f"/v1/telemetry/{path}").status_code in (404, 422), path
    for path in ("compare/eu-west?a=x", "compare/eu-west?a=:x"):
        assert client.get(f"/v1/telemetry/{path}").status_code in (400, 422), path
    for path in ("fleet?last_s=1", "fleet?last_s=nan", "fleet?model=%00", "releases/fashion/-1"):
        assert client.get(f"/v1/telemetry/{path}").status_code in (404, 422), path


def test_what_nobody_sent_is_empty_and_never_zero(server: Server) -> None:
    assert ask(server, "fleet")["models"] == []
    answered(server, "west-1", 60.0, [])
    server.roller.turn()
    whole = ask(server, "fleet")["models"][0]["whole"]
    assert (whole["requests"], whole["p50_s"], whole["p99_s"]) == (0, None, None)
    boards = ask(server, "fleet")["boards"]
    assert boards["temperature_c"] is None and boards["throttled_share"] is None and boards["energy"] == []
    compared = ask(server, "compare/ap-south")
    assert compared["a"] is None and compared["between"] is None


def test_drift_is_found_from_the_first_good_day_on_shown_and_told(server: Server) -> None:
    rng = random.Random(9)

    def sure(power: float, n: int = 1500) -> list[float]:
        return [rng.random() ** power for _ in range(n)]

    for device, power in (("west-1", 0.8), ("south-1", 0.1)):
        answered(server, device, 3 * DAY_S, [0.01] * 1500, confidence=sure(0.1))
        answered(server, device, 120.0, [0.01] * 1500, confidence=sure(power))
    server.roller.turn()
    (west,) = ask(server, "regions/eu-west")["variants"]
    (south,) = ask(server, "regions/ap-south")["variants"]
    assert west["drift"]["alarm"] and west["drift"]["psi"] > west["drift"]["limit"] >= 0.1
    assert not south["drift"]["alarm"] and south["drift"]["psi"] is not None
    server.watching.watch.look()
    with server.database.read() as connection:
        from edgefleet_server.store import alerts

        (alert,) = alerts.latest(connection)
    assert (alert.rule, alert.region) == ("drifts", "eu-west")
    assert "PSI" in alert.text and alert.evidence == "/v1/telemetry/regions/eu-west"


def test_few_answers_and_an_unfinished_first_day_say_nothing_of_drift(server: Server) -> None:
    answered(server, "west-1", 3 * DAY_S, [0.01] * 900, confidence=[0.9] * 900)
    answered(server, "west-1", 60.0, [0.01] * 2000, confidence=[0.1] * 2000)
    server.roller.turn()
    (row,) = ask(server, "regions/eu-west")["variants"]
    assert row["drift"]["psi"] is None and not row["drift"]["alarm"]


def test_telemetry_goes_when_its_resolution_and_its_region_say_so(make_server: MakeServer) -> None:
    from sqlalchemy import func, select

    from edgefleet_server.config import KeepConfig
    from edgefleet_server.keeping import RegionKeep
    from edgefleet_server.store.schema import model_rollups

    server = make_server(
        1,
        keep=KeepConfig(windows_days=7, minute_rollups_days=2, hour_rollups_days=10),
        region_keeps={"ap-south": RegionKeep(windows_days=1, minute_rollups_days=1, hour_rollups_days=2)},
    )
    for name, region in FLEET.items():
        state = DeviceState(device=name, session=1, boot="b", at_s=1.0, agent_version="1", region=region, hardware=PI4)
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    for device in ("west-1", "south-1"):
        for ago_s in (60.0, 1.5 * DAY_S, 5 * DAY_S):
            answered(server, device, ago_s, [0.01])
    server.roller.turn()
    server.tidier.turn()

    def left(resolution: int, region: str) -> int:
        table = model_rollups.c
        query = select(func.count()).where(
            table.resolution == resolution, table.grain == rollups.REGION, table.region == region
        )
        with server.database.read() as connection:
            return int(connection.execute(query).scalar_one())

    assert [left(resolution, "eu-west") for resolution in (0, 1, 2)] == [2, 3, 3]
    assert [left(resolution, "ap-south") for resolution in (0, 1, 2)] == [1, 2, 3]
    with server.database.read() as connection:
        kept = connection.execute(select(windows_table.c.device, func.count()).group_by(windows_table.c.device)).all()
    assert sorted((row[0], row[1]) for row in kept) == [("south-1", 1), ("west-1", 3)]
    server.database.close()


def test_the_client_reads_every_view_into_its_types(server: Server) -> None:
    answered(server, "west-1", 120.0, [0.01] * 4, power_w=3.0, temperature_c=40.0)
    server.roller.turn()
    with server.database.write() as connection:
        secret = tokens.new(connection, "ana", "viewer", None, time.time(), 600.0)[1]
    with WebServer(server.web) as web, Api(web.url, token=secret) as api:
        assert api.fleet_telemetry().models[0].whole.requests == 4
        assert api.region_telemetry("eu-west").boards.energy[0].source == "unnamed"
        assert api.release_telemetry("fashion/1", last_s=3600).regions[0].region == "eu-west"
        both = api.compare("eu-west", "fashion/1:int8")
        assert both.a is not None and both.a.whole.variant == "int8" and both.b is None
        assert api.device_telemetry("west-1").series.temperature_c == [40.0]


def test_the_pages_show_what_the_roll_ups_hold(make_server: MakeServer) -> None:
    server = make_server(1)
    for name, region in FLEET.items():
        state = DeviceState(device=name, session=1, boot="b", at_s=1.0, agent_version="1", region=region, hardware=PI4)
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    for ago_s in (120.0, 2 * HOUR_S):
        for variant in ("int8", "fp32"):
            answered(
                server, "west-1", ago_s + (variant == "int8"), [0.0123] * 9, variant=variant, temperature_c=51.0,
                power_w=4.0, battery_percent=70.0, throttled=("capped",),
            )  # fmt: skip
    server.roller.turn()
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    for path in ("/", "/regions/eu-west", "/devices/west-1", "/?last=6h", "/regions/eu-west?last=30d"):
        page = client.get(path)
        assert page.status_code == 200, path
        assert "<svg" in page.text or "<canvas" in page.text, path
        assert re.search(r"12\.[0-9]+ ms", page.text), path
    server.database.close()
