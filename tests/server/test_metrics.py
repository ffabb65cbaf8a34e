"""/metrics: what Prometheus reads, what each query of the dashboard then finds, and that no device is a series."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, ModelState, Running
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, Window
from edgefleet_server.alerts.config import AlertsConfig
from edgefleet_server.alerts.rules import Rule
from edgefleet_server.app import Server
from edgefleet_server.config import HttpConfig
from edgefleet_server.metrics.text import ENDS, Family, Sample, histogram, write
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store import devices, rollups, telemetry, tokens
from edgefleet_server.store.windows import Placed, ready
from tests.fakes.scripted_device import PI4, eventually

from .conftest import MakeServer
from .test_telemetry_views import answered as stored

DEPLOY = Path(__file__).parents[2] / "deploy"
REGIONS = ("eu-west", "ap-south")


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server that asks for tokens, with three devices that run something, and no broker."""
    server = make_server(1, http=HttpConfig(), alerts=AlertsConfig(rules=(Rule("broker-gone", "broker", for_s=0.0),)))
    for name, region in (("one", "eu-west"), ("two", "eu-west"), ("three", "ap-south")):
        runs = Running(
            release="fashion/1",
            release_sha256="b" * 64,
            variant="fp32",
            variant_sha256="c" * 64,
            since_s=0.0,
            proven=True,
        )
        model = ModelState(model="fashion", phase="proven", why="it runs", running=runs)
        state = DeviceState(
            device=name, session=1, boot="b", at_s=1.0, agent_version="1", region=region, hardware=PI4, models=(model,)
        )
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    server.controller.turn()
    yield server
    server.database.close()


def answered(server: Server, device: str, *seconds: float, errors: int = 0, started_s: float | None = None) -> None:
    """Store one window of a device in which a model took so long for each answer."""
    sketch = SketchBuilder()
    for value in seconds:
        sketch.add(value)
    now = time.time()
    row = ModelWindow(
        model="fashion", release="fashion/1", release_sha256="b" * 64, variant="fp32", requests=len(seconds), errors=errors,
        latency=sketch.build(),
    )  # fmt: skip
    facts = DeviceWindow(power_w=4.0)
    window = Window(
        start_s=now,
        seconds=1.0,
        boot="b",
        started_monotonic_s=time.monotonic() if started_s is None else started_s,
        device=facts,
        models=(row,),
    )
    with server.database.write() as connection:
        assert telemetry.add(connection, device, window, now, now)
        rollups.add(connection, [ready(Placed(device, window, now), now)], now)
    server.roller.turn()


def drifted(server: Server) -> None:
    """Store what a variant was sure of three days ago, and what it is sure of now."""
    for ago_s, sure in ((3 * 86400.0, 0.9), (60.0, 0.3)):
        stored(server, "one", ago_s, [0.01] * 1200, variant="fp32", confidence=[sure] * 1200)
    server.roller.turn()


def token(server: Server, *regions: str) -> str:
    with server.database.write() as connection:
        return tokens.new(connection, "prometheus", "viewer", frozenset(regions) or None, time.time(), 600.0)[1]


def page(server: Server, *regions: str) -> str:
    return write(server.watching.collector.collect(frozenset(regions) or None))


def test_prometheus_own_tool_finds_nothing_to_say_against_it(server: Server) -> None:
    answered(server, "one", 0.01, 0.02, 3.0)
    server.counters.add("windows_taken", 3)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page(server), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_counts_go_on_from_the_start_and_every_window_counts_once(server: Server) -> None:
    labels = '{region="eu-west",model="fashion",release="fashion/1",variant="fp32"}'
    assert "edgefleet_requests_total{" not in page(server)
    answered(server, "one", 0.01, 0.02)
    answered(server, "two", 0.04, errors=2)
    for _ in range(3):
        text = page(server)
        assert f"edgefleet_requests_total{labels} 3\n" in text
        assert f"edgefleet_request_errors_total{labels} 2\n" in text
        assert f"edgefleet_latency_seconds_count{labels} 3\n" in text
    answered(server, "one", 0.01)
    assert f"edgefleet_requests_total{labels} 4\n" in page(server)
    (group,) = [row for row in server.watching.follower.groups() if row.region == "eu-west"]
    assert group.requests == 4 and group.p95_s == pytest.approx(0.04, rel=0.03)


def test_drift_and_energy_are_those_of_groups_and_of_one_sensor_each(server: Server) -> None:
    drifted(server)
    answered(server, "one", 0.01)
    answered(server, "three", 0.01)
    text = page(server, "eu-west")
    labels = '{region="eu-west",model="fashion",release="fashion/1",variant="fp32"}'
    (psi,) = re.findall(rf"^edgefleet_drift_psi{re.escape(labels)} (.+)$", text, re.MULTILINE)
    assert float(psi) > 0.1 and f"edgefleet_drift_psi_limit{labels} 0.1\n" in text
    assert 'edgefleet_energy_joules_total{region="eu-west",source="unnamed"} 4\n' in text and "ap-south" not in text


def test_there_are_as_many_series_for_a_thousand_devices_as_for_three(server: Server) -> None:
    for name in ("one", "two", "three"):
        answered(server, name, 0.01)
    few = page(server).count("\n")
    with server.database.write() as connection:
        found = devices.find(connection, "one")
        assert found is not None and found.state is not None
        for number in range(1000):
            state = DeviceState(
                device=f"d{number}",
                session=1,
                boot="b",
                at_s=1.0,
                agent_version="1",
                region="eu-west",
                models=found.state.models,
            )
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    for number in range(20):
        answered(server, f"d{number}", 0.01)
    text = page(server)
    assert text.count("\n") == few and 'edgefleet_devices{region="eu-west",state="online"} 1002' in text


def test_who_has_some_regions_sees_these_and_nothing_of_the_server(server: Server) -> None:
    for name in ("one", "three"):
        answered(server, name, 0.01)
    text = page(server, "eu-west")
    assert "ap-south" not in text and "edgefleet_server" not in text and "edgefleet_requests_total{" in text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_counts_each_value_where_it_belongs(values: list[float]) -> None:
    sketch = SketchBuilder()
    for value in values:
        sketch.add(value)
    samples = histogram(sketch.build(), {})
    buckets = {row.labels["le"]: row.value for row in samples if row.suffix == "_bucket"}
    for end in ENDS:
        bound = 2 ** (end / 16)
        if all(abs(value / bound - 1) > 1e-9 for value in values):
            assert buckets[f"{bound:.6g}"] == sum(value <= bound for value in values)
    assert buckets["+Inf"] == len(values)
    total = next(row.value for row in samples if row.suffix == "_sum")
    assert total == pytest.approx(sum(values), rel=0.03, abs=1e-30)


def test_nothing_that_a_device_says_breaks_out_of_a_label() -> None:
    text = write([Family("a", "gauge", "h\n", (Sample(1, {"x": 'q"\\\n} 7'}),))])
    assert text == '# HELP a h\\n\n# TYPE a gauge\na{x="q\\"\\\\\\n} 7"} 1\n'


def test_it_lives_without_a_broker_and_is_ready_only_with_all_its_parts(server: Server) -> None:
    ask = TestClient(server.web, base_url="http://127.0.0.1:8300")
    assert ask.get("/livez").status_code == 200
    answer = ask.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "waiting_for": ["broker"], "without": []})
    server.controller.turned_s = time.time() - 3600
    assert ask.get("/readyz").json()["waiting_for"] == ["broker", "controller"]
    assert ask.get("/metrics").status_code == 401


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_takes_the_files_of_deploy(words: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *words], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def prometheus(server: Server, tmp_path: Path) -> Iterator[str]:
    """The address of a real Prometheus that reads the server's /metrics, by deploy's own configuration."""
    ports = free_port(), free_port()
    http = uvicorn.Server(uvicorn.Config(server.web, port=ports[0], log_level="warning", lifespan="off"))
    thread = threading.Thread(target=http.run, daemon=True)
    thread.start()
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "token").write_text(token(server))
    shutil.copy(DEPLOY / "prometheus/rules.yml", folder)
    text = (
        (DEPLOY / "prometheus/prometheus.yml").read_text().replace("15s", "1s")
    )  # its timeout too: a loaded machine takes some of it
    text = text.replace("/etc/prometheus/edgefleet.token", str(folder / "token")).replace("8300", str(ports[0]))
    (folder / "prometheus.yml").write_text(text)
    process = subprocess.Popen(
        [
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{ports[1]}", "--log.level=error",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{ports[1]}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        http.should_exit = True
        thread.join(timeout=20)


def queries() -> dict[str, str]:
    """Return every query of the dashboard by its panel, with Grafana's variables filled in."""
    board = json.loads((DEPLOY / "grafana/dashboards/edgefleet.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$__rate_interval", "30s")
        .replace("$region", ".*")
        for panel in board["panels"]
        for target in panel["targets"]
    }


def test_every_query_of_the_dashboard_finds_something_in_a_real_prometheus(server: Server, prometheus: str) -> None:
    server.controller.begin(Order("fashion/1", regions=("eu-west",)), "a test")
    server.counters.add("windows_taken", 3)
    drifted(server)
    server.watching.watch.look()
    client, missing = httpx.Client(trust_env=False), queries()

    def found(query: str) -> bool:
        try:
            answer = client.get(f"{prometheus}/api/v1/query", params={"query": query})
        except httpx.TransportError:
            return False  # it starts
        if answer.status_code == 503:
            return False  # it listens before it can answer
        rows = answer.json().get("data", {}).get("result", [])
        return bool(rows) and all(row["value"][1] != "NaN" for row in rows)

    def every_query_found() -> bool:
        answered(server, "one", 0.01, 0.5, errors=1)
        server.counters.add("windows_taken")
        for name in [name for name, query in missing.items() if found(query)]:
            del missing[name]
        time.sleep(0.2)
        return not missing

    try:
        eventually("data for every query", every_query_found)
    finally:
        assert not missing
    rules = client.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert {row["health"] for row in rules} == {"ok"}
    assert not re.search(r'device="', client.get(f"{prometheus}/api/v1/labels").text)


def test_the_dashboard_is_provisioned_with_the_source_that_it_names() -> None:
    board = (DEPLOY / "grafana/dashboards/edgefleet.json").read_text()
    assert set(re.findall(r'"uid": "(edgefleet-[a-z]+)"', board)) == {"edgefleet-prometheus"}
    assert "uid: edgefleet-prometheus" in (DEPLOY / "grafana/provisioning/datasources/edgefleet.yml").read_text()
