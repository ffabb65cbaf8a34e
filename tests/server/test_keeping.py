"""How much of what devices say is kept, and for how long."""

import math
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgefleet_protocol.codec import Document, encode
from edgefleet_protocol.messages import Event
from edgefleet_protocol.telemetry import ModelWindow, TelemetryBatch, Window
from edgefleet_server.app import Server
from edgefleet_server.config import KeepConfig, parse
from edgefleet_server.errors import BadConfig
from edgefleet_server.ingest.lane import Lane
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.rollouts.controller import REFRESH_EVERY_S
from edgefleet_server.store import audit, events, pruning, telemetry

from .conftest import MakeServer

DAY_S = 86400.0


def say(server: Server, topic: str, payload: bytes) -> None:
    server.router.handle([Incoming(topic=topic, payload=payload, retained=False, session=1, mid=1, qos=1)])


def send_windows(server: Server, device: str, count: int, *, start_s: float) -> None:
    model = ModelWindow(model="fashion", release="fashion/1", release_sha256="a" * 64, variant="fp32", requests=1)
    for n in range(count):
        window = Window(start_s=start_s, seconds=1.0, boot="b", started_monotonic_s=start_s + n / 100, models=(model,))
        batch: Document = TelemetryBatch(device=device, windows=(window,))
        say(server, f"edgefleet/v1/demo/telemetry/{device}", zlib.compress(encode(batch)))


def send_events(server: Server, device: str, count: int) -> None:
    for number in range(count):
        event = Event(device=device, boot="b", number=number, at_s=0.0, kind="activated", text="x")
        say(server, f"edgefleet/v1/demo/device/{device}/event", encode(event))


def test_a_share_of_events_holds_within_one_batch_too(make_server: MakeServer) -> None:
    server = make_server(1, keep=KeepConfig(events_per_device_per_hour=3))
    topic = "edgefleet/v1/demo/device/loud/event"
    rows = [Event(device="loud", boot="b", number=number, at_s=0.0, kind="activated", text="x") for number in range(5)]
    server.router.handle([Incoming(topic, encode(row), False, 1, mid, 1) for mid, row in enumerate(rows, 1)])
    with server.database.read() as connection:
        assert events.count(connection) == 3
    assert server.counters.get("events_over_share") == 2
    server.database.close()


def test_telemetry_goes_on_after_a_connection_that_went_as_it_was_to_be_told_of_what_is_stored(
    make_server: MakeServer,
) -> None:
    server, told = make_server(1), []

    def done(messages: Sequence[Incoming]) -> None:
        told.append(messages)
        if len(told) == 1:
            raise OSError(9, "Bad file descriptor")

    lane = Lane(server.router.intake, done, server.counters, threading.Event(), server.database.outage)
    lane.start()
    window = Window(start_s=time.time(), seconds=1.0, boot="b", started_monotonic_s=1.0)
    payload = zlib.compress(encode(TelemetryBatch(device="one", windows=(window,))))
    for mid in (1, 2):
        lane.take([Incoming("edgefleet/v1/demo/telemetry/one", payload, False, 1, mid, 1)])
    lane.stop()
    assert (lane.stored, len(told), server.counters.get("ingest_faults")) == (2, 2, 1)
    server.database.close()


def test_one_device_gets_its_share_of_the_disk_and_no_more(make_server: MakeServer) -> None:
    server = make_server(1, keep=KeepConfig(windows_per_device_per_hour=5, events_per_device_per_hour=3))
    now = time.time()
    send_windows(server, "loud", 8, start_s=now - 2 * 3600)
    send_windows(server, "loud", 2, start_s=now - 4 * 3600)  # an outbox that empties: each hour has its own share
    send_windows(server, "quiet", 1, start_s=now - 2 * 3600)
    send_windows(server, "quiet", 1, start_s=now - 8 * DAY_S)
    send_events(server, "loud", 5)
    send_events(server, "quiet", 1)
    with server.database.read() as connection:
        assert (telemetry.count(connection), events.count(connection)) == (8, 4)
    assert server.counters.get("windows_over_share") == 3
    assert server.counters.get("windows_too_old") == 1
    assert server.counters.get("events_over_share") == 2
    assert server.counters.reasons()["events_over_share"] == "loud sent more than 3 events in an hour"
    server.database.close()


def test_what_a_turn_may_remove_is_more_than_what_can_come_between_two() -> None:
    most_windows_per_s = 1667  # a hundred thousand devices, each with one model
    assert 1.5 * most_windows_per_s < pruning.BATCH * pruning.BATCHES / REFRESH_EVERY_S


def test_what_is_older_than_it_is_kept_goes_in_the_controllers_slow_turn(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    server = make_server(1)
    now = time.time()
    send_windows(server, "one", 5, start_s=now - 6 * DAY_S)
    send_windows(server, "one", 2, start_s=now)
    send_events(server, "one", 3)
    with server.database.write() as connection:
        connection.exec_driver_sql("UPDATE windows SET placed_s = placed_s - 172800 WHERE placed_s < ?", (now - 10,))
        connection.exec_driver_sql("UPDATE events SET received_s = received_s - 8640000 WHERE number < 2")
        for days in (800, 0):
            audit.add(connection, audit.AuditRow(now - days * DAY_S, "ana", "rollout.start", None, "m/1", "done"))
    server.controller.turn()
    with server.database.read() as connection:
        assert (telemetry.count(connection), events.count(connection)) == (2, 1)
        assert [row.at_s for row in audit.latest(connection)] == [now]
        assert len(telemetry.models(connection, "one", since_s=0.0)) == 2
    assert server.counters.get("windows_pruned") == 5
    server.database.close()


def test_rollouts_do_not_wait_for_what_is_removed(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server, began, let_go = make_server(1), threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> pruning.Pruned:
        began.set()
        let_go.wait()
        return pruning.Pruned(0, 0)

    monkeypatch.setattr("edgefleet_server.rollouts.controller.prune", slow)
    server.controller.start()
    began.wait()
    before = server.controller.turned_s
    while server.controller.turned_s == before:
        server.controller.look()
        time.sleep(0.01)
    let_go.set()
    server.controller.stop()
    server.database.close()


def test_roll_ups_do_not_wait_for_what_is_removed_and_that_ends_with_the_server(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, began, ended = make_server(1), threading.Event(), threading.Event()

    def slow(*_: object, go_on: Callable[[], bool]) -> int:
        began.set()
        while go_on():
            time.sleep(0.01)
        ended.set()
        return 0

    monkeypatch.setattr("edgefleet_server.tidying.prune_windows", slow)
    server.tidier.start()
    began.wait()
    send_windows(server, "one", 1, start_s=time.time())
    server.roller.start()
    while not server.counters.get("rollup_batches"):
        time.sleep(0.01)
    assert not ended.is_set()
    server.tidier.stop()
    assert ended.is_set()
    server.roller.stop()
    server.database.close()


def test_keeping_nothing_is_refused(tmp_path: Path) -> None:
    folders = {"repository": "r", "keys": "k", "data": "d"}
    assert parse({**folders, "keep": {"windows_days": 1}}, tmp_path).keep.windows_days == 1
    with pytest.raises(BadConfig, match=r"keep\.events_days is 0"):
        parse({**folders, "keep": {"events_days": 0}}, tmp_path)
    with pytest.raises(BadConfig, match=r"keep\.audit_days is -1"):
        parse({**folders, "keep": {"audit_days": -1}}, tmp_path)
    assert parse({**folders, "keep": {"audit_days": math.inf}}, tmp_path).keep.audit_days == math.inf, "for ever"
