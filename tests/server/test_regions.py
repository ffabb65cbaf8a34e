"""Regions in versions: refused where they contradict themselves, planned before, and heard of with the next signed document."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, ModelState, Running
from edgefleet_protocol.rollout import Policy, Rollout
from edgefleet_protocol.telemetry import DeviceWindow, Window
from edgefleet_server.app import Server
from edgefleet_server.cli import toml_out
from edgefleet_server.cli.region import effect_text
from edgefleet_server.cli.region import read as read_file
from edgefleet_server.errors import BadRequest
from edgefleet_server.keeping import RegionKeep
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.regions.residency import kept_groups, kept_window
from edgefleet_server.regions.settings import RegionSettings, TelemetrySettings, from_bytes, to_bytes
from edgefleet_server.store import devices, schema, telemetry
from tests.fakes.scripted_device import PI4

from .conftest import MakeServer

WEST = "eu-west"


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server without a broker, and one device in each of two regions."""
    server = make_server(1, kept_at="frankfurt", policies={WEST: Policy(telemetry_interval_s=30.0)})
    add(server, "one", WEST)
    add(server, "far", "ap-south")
    yield server
    server.database.close()


@pytest.fixture
def client(server: Server) -> TestClient:
    return TestClient(server.web, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)


def add(server: Server, name: str, region: str, **fields: object) -> None:
    values = {"device": name, "session": 1, "boot": "b", "at_s": 1.0, "agent_version": "0.1.0", "region": region}
    state = DeviceState(**{**values, "hardware": PI4, **fields})  # type: ignore[arg-type]
    with server.database.write() as connection:
        devices.put_state(connection, state, encode(state), time.time(), live=True)


def runs(server: Server, name: str, release: str, region: str = WEST, **fields: object) -> None:
    """A device that runs and has proven a release."""
    ref = server.repository.releases()[release]
    running = Running(
        release=release,
        release_sha256=ref.sha256,
        variant="fp32",
        variant_sha256="a" * 64,
        since_s=1.0,
        proven=True,
    )
    model = ModelState(
        model="fashion",
        phase="proven",
        why="runs",
        wanted_sha256=ref.sha256,
        running=running,
        **fields,  # type: ignore[arg-type]
    )
    add(server, name, region, models=(model,))


def apply(client: TestClient, settings: dict[str, Any], region: str = WEST, plan: bool = False, **rest: Any) -> Any:
    return client.post(f"/v1/regions{'/plan' if plan else ''}", json={"regions": {region: settings}, **rest})


def start(client: TestClient, **body: Any) -> None:
    answer = client.post("/v1/rollouts", json={"release": "fashion/1", "regions": [WEST], **body})
    assert answer.status_code == 201, answer.json()


def signed(server: Server) -> Rollout:
    server.controller.turn()
    document = server.repository.rollout(WEST)
    assert document is not None
    return document


def test_a_version_is_kept_with_who_made_it_and_reaches_devices_with_the_next_document(
    server: Server, client: TestClient
) -> None:
    start(client)
    assert signed(server).policy == Policy(telemetry_interval_s=30.0)
    settings = {"policy": {"objective": "latency", "telemetry_fields": ["heat"]}, "broker": "mq.example.org:8883"}
    (planned,) = apply(client, settings, plan=True).json()["regions"]
    assert client.get(f"/v1/regions/{WEST}").json()["version"] == 0
    (done,) = apply(client, settings, why="quicker").json()["regions"]
    assert [row["key"] for row in done["changes"]] == [
        "broker", "policy.objective", "policy.telemetry_fields", "policy.telemetry_interval_s",
    ]  # fmt: skip
    assert planned["reaches"] == "devices would hear of it with rollout document 2, which is signed at once"
    assert done["reaches"] == "devices hear of it with rollout document 2, which is signed at once"
    assert (planned["version"], done["version"], planned["changes"]) == (1, 1, done["changes"])
    document = signed(server)
    assert (document.serial, document.policy) == (2, Policy(objective="latency", telemetry_fields=("heat",)))
    row = client.get(f"/v1/regions/{WEST}").json()
    assert (row["version"], row["by"], row["why"]) == (1, "a person on this machine", "quicker")
    assert client.get("/v1/audit").json()["items"][0]["outcome"].startswith("version 1: broker, policy.objective")
    assert signed(server).serial == 2


def test_a_rollout_without_a_policy_uses_the_newest_version_and_one_with_its_own_keeps_it(
    server: Server, client: TestClient
) -> None:
    apply(client, {"policy": {"telemetry_interval_s": 11}})
    start(client)
    assert signed(server).policy.telemetry_interval_s == 11
    start(client, release="fashion/2", policies={WEST: {"telemetry_interval_s": 5}})
    assert signed(server).policy.telemetry_interval_s == 5
    (row,) = apply(client, {"policy": {"telemetry_interval_s": 20}}).json()["regions"]
    assert row["reaches"] == "devices hear of it when a rollout starts that brings no policy of its own"
    assert [(fact["release"], fact["follows"]) for fact in row["rollouts"]] == [("fashion/2", False)]
    assert signed(server).policy.telemetry_interval_s == 5
    # The way back leads to what ran under the region's policy, and that is the new one by now.
    assert client.post(f"/v1/rollouts/{WEST}/go-back", json={}).status_code == 200
    assert signed(server).policy.telemetry_interval_s == 20


def test_the_plan_says_which_devices_choose_another_variant(server: Server, client: TestClient) -> None:
    runs(server, "one", "fashion/1")
    runs(server, "two", "fashion/1")
    start(client)
    (row,) = apply(client, {"policy": {"memory_budget_bytes": 1}}, plan=True).json()["regions"]
    assert row["moves"] == [
        {"release": "fashion/1", "hardware_class": "pi4", "before": "fp32", "after": "none", "devices": 2}
    ]


def test_versions_are_listed_compared_and_not_overwritten_by_who_did_not_see_the_last(
    server: Server, client: TestClient
) -> None:
    for seconds in (10, 20, 30):
        apply(client, {"policy": {"telemetry_interval_s": seconds}}, if_version=seconds // 10 - 1)
    late = apply(client, {"policy": {"telemetry_interval_s": 40}}, if_version=2)
    assert late.status_code == 409 and "eu-west is at version 3, made by a person" in late.json()["detail"]
    assert client.get(f"/v1/regions/{WEST}/diff").json()["changes"] == [
        {"key": "policy.telemetry_interval_s", "before": 20.0, "after": 30.0}
    ]
    assert (
        client.get(f"/v1/regions/{WEST}/diff", params={"before": 1, "after": 3}).json()["changes"][0]["before"] == 10.0
    )
    assert client.get(f"/v1/regions/{WEST}/diff", params={"before": 9, "after": 3}).status_code == 404
    part = client.get(f"/v1/regions/{WEST}/versions", params={"limit": 2}).json()
    assert ([row["version"] for row in part["items"]], part["next"]) == ([3, 2], 2)
    rest = client.get(f"/v1/regions/{WEST}/versions", params={"after": 2}).json()
    assert ([row["version"] for row in rest["items"]], rest["next"]) == ([1], None)
    again = apply(client, {"policy": {"telemetry_interval_s": 30}}).json()["regions"][0]
    assert (again["version"], again["changes"]) == (3, [])
    listed = client.get("/v1/regions", params={"limit": 1}).json()
    assert [row["region"] for row in listed["items"]] == ["ap-south"] and listed["next"] == "ap-south"


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"policy": {"luck": 1}}, 422, "regions.eu-west.policy.luck is not known. Known here: objective"),
        ({"colour": "red"}, 422, "regions.eu-west.colour is not known. Known here: policy, telemetry, broker"),
        ({"policy": 7}, 422, "regions.eu-west.policy must be a table"),
        (
            {"policy": {"objective": "speed"}},
            422,
            "regions.eu-west: policy.objective is 'speed' and must be one of accuracy",
        ),
        ({"policy": {"download": "in-window"}}, 422, 'download is "in-window" and there is no window'),
        ({"policy": {"latency_budget_s": 0}}, 422, "latency_budget_s is 0"),
        (
            {"policy": {"telemetry_fields": ["heat"]}, "telemetry": {"elsewhere": ["battery"], "kept_at": ["paris"]}},
            422,
            "telemetry.elsewhere lets battery out of the region, and policy.telemetry_fields lets only heat out",
        ),
        (
            {"telemetry": {"elsewhere": ["heat"]}},
            422,
            "telemetry.elsewhere is heat and telemetry.kept_at names no place",
        ),
        ({"telemetry": {"elsewhere": ["smell"], "kept_at": ["paris"]}}, 422, "names smell; the groups are cpu, memory"),
        ({"telemetry": {"elsewhere": ["none", "heat"], "kept_at": ["paris"]}}, 422, "says none and heat"),
        ({"telemetry": {"keep_days": 0}}, 422, "regions.eu-west"),
        ({"broker": "mq.example.org"}, 422, "regions.eu-west"),
        ({"broker": "mq.example.org:99999"}, 422, "broker is mq.example.org:99999, and ports end at 65535"),
        (
            {"policy": {"timezone": "Mars/Base", "windows": [{"start": "01:00", "end": "02:00"}]}},
            422,
            "is no time zone",
        ),
        ({"policy": {"timezone": "../../x", "windows": [{"start": "01:00", "end": "02:00"}]}}, 422, "is no time zone"),
        ({"online_key": "deadbeef"}, 409, "regions.eu-west.online_key is deadbeef, and the repository lets"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_values_that_disagree_and_changes_no_region(
    client: TestClient, settings: dict[str, Any], status: int, words: str
) -> None:
    both = {"ap-south": {"policy": {"telemetry_interval_s": 9}}, WEST: settings}
    for path in ("/v1/regions/plan", "/v1/regions"):
        answer = client.post(path, json={"regions": both})
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.json()
    assert client.get("/v1/regions/ap-south").json()["version"] == 0
    assert client.post("/v1/regions", json={"regions": {"mars": {}}}).status_code == 404


def test_the_key_that_signs_a_region_may_be_named_and_is_compared(server: Server, client: TestClient) -> None:
    keyid = server.repository.current().delegated(f"rollouts-{WEST}").keyids[0]
    assert apply(client, {"online_key": keyid[:12]}).status_code == 200


def test_s04_a_frozen_region_moves_neither_on_nor_back_and_its_devices_read_why(
    server: Server, client: TestClient
) -> None:
    start(client, stages=[50, 100])
    assert client.post(f"/v1/regions/{WEST}/freeze", json={"why": "election"}).json() == {"changed": [WEST]}
    assert client.post(f"/v1/regions/{WEST}/freeze", json={}).json() == {"changed": []}
    document = signed(server)
    assert (document.serial, document.frozen) == (2, "a person on this machine: election")
    runs(server, "one", "fashion/1")
    server.controller.turn()
    (row,) = client.get(f"/v1/rollouts/{WEST}").json()["items"]
    assert (row["stage"], row["why"]) == (0, f"{WEST} is frozen by a person on this machine: election")
    refused = client.post(f"/v1/rollouts/{WEST}/next", json={})
    assert (refused.status_code, f"edgefleet region unfreeze {WEST}" in refused.json()["detail"]) == (409, True)
    opened = row["stage_opened_s"]
    assert client.post("/v1/unfreeze", json={}).json() == {"changed": [WEST]}
    assert signed(server).frozen == ""
    (row,) = client.get(f"/v1/rollouts/{WEST}").json()["items"]
    assert row["stage_opened_s"] > opened, "time in which it was frozen counts for no deadline"
    assert client.post("/v1/freeze", json={"why": "night"}).json() == {"changed": [WEST, "ap-south"]}
    assert client.post("/v1/regions/mars/freeze", json={}).status_code == 404


def test_s04_half_of_a_region_is_frozen_and_counted_apart_and_the_rollout_ends_without_it(
    server: Server, client: TestClient
) -> None:
    for name in ("two", "three", "four"):
        add(server, name, WEST)
    assert client.post("/v1/devices/freeze", json={"devices": ["three"], "why": "inspection"}).status_code == 200
    plan = client.post("/v1/rollouts/plan", json={"release": "fashion/1", "regions": [WEST]}).json()["regions"][0]
    assert {row["device"]: row["why"] for row in plan["left_out"]} == {
        "three": "frozen by a person on this machine: inspection, so it is counted apart"
    }
    start(client)
    runs(server, "four", "fashion/1")
    with_hold = "held by ana until it is released"
    sha256 = server.repository.releases()["fashion/1"].sha256
    model = ModelState(model="fashion", phase="waiting", why=with_hold, wanted_sha256=sha256, held=with_hold)
    add(server, "two", WEST, models=(model,))
    runs(server, "one", "fashion/1")
    signed(server)
    (row,) = client.get(f"/v1/rollouts/{WEST}").json()["items"]
    standings = {fact["device"]: (fact["standing"], fact["why"]) for fact in row["evidence"]}
    assert standings["two"] == ("frozen", with_hold)
    assert standings["three"] == ("frozen", "frozen by a person on this machine: inspection")
    assert (row["status"], row["counts"]["proven"], row["counts"]["apart"]) == ("complete", 2, 2)
    assert row["why"].endswith("2 outstanding")


def test_s04_time_in_which_a_device_was_held_counts_for_no_deadline(server: Server, client: TestClient) -> None:
    start(client, deadline_s=60)
    sha256 = server.repository.releases()["fashion/1"].sha256
    with server.database.write() as connection:
        connection.execute(schema.rollouts.update().values(stage_opened_s=time.time() - 3600))
        connection.execute(schema.devices.update().values(first_seen_s=1.0))

    def says(held: str | None, number: int) -> str:
        model = ModelState(model="fashion", phase="waiting", why="waits", wanted_sha256=sha256, held=held)
        state = DeviceState(
            device="one", session=2, boot="b", at_s=2.0, agent_version="0.1.0", region=WEST, hardware=PI4,
            models=(model,), number=number,
        )  # fmt: skip
        server.router.handle([Incoming(server.topics.of_device("one", "state"), encode(state), False, 1, 1, 1)])
        (row,) = client.get(f"/v1/rollouts/{WEST}").json()["items"]
        return str(row["evidence"][0]["standing"])

    assert says("held by ana until it is released", 1) == "frozen"
    assert says(None, 2) == "under way"


def test_a_device_that_moves_counts_in_its_new_region_from_then_on(server: Server, client: TestClient) -> None:
    start(client, deadline_s=60)
    with server.database.write() as connection:
        connection.execute(schema.rollouts.update().values(stage_opened_s=time.time() - 3600))
        connection.execute(schema.devices.update().values(first_seen_s=1.0))
    assert client.post("/v1/devices/move", json={"devices": ["far"], "region": WEST}).status_code == 200
    (row,) = client.get(f"/v1/rollouts/{WEST}").json()["items"]
    standings = {fact["device"]: fact["standing"] for fact in row["evidence"]}
    assert standings == {"one": "failed", "far": "under way"}


def test_what_may_not_be_kept_here_is_taken_out_before_it_is_stored(server: Server, client: TestClient) -> None:
    window = Window(
        start_s=time.time(),
        seconds=10.0,
        boot="b",
        started_monotonic_s=1.0,
        device=DeviceWindow(temperature_c=50.0, battery_percent=80.0, cpu_percent=5.0),
    )

    def stored(device: str = "one") -> DeviceWindow:
        with server.database.write() as connection:
            kept = server.residency.kept(connection, device, window, time.time())
            telemetry.add(connection, device, kept, time.time(), time.time())
        return kept.device

    assert stored() == window.device
    apply(client, {"policy": {"telemetry_fields": ["heat", "battery"]}, "telemetry": {"kept_at": ["frankfurt"]}})
    assert stored() == DeviceWindow(temperature_c=50.0, battery_percent=80.0)
    assert stored("far") == window.device
    rule = {"kept_at": ["paris"], "elsewhere": ["heat"]}
    apply(client, {"policy": {"telemetry_fields": ["heat", "battery"]}, "telemetry": rule})
    assert stored() == DeviceWindow(temperature_c=50.0)


@pytest.mark.parametrize(
    ("out", "kept_at", "elsewhere", "place", "groups"),
    [
        ((), (), (), "", ()),
        (("heat",), (), (), "paris", ("heat",)),
        ((), ("paris",), ("heat",), "paris", ()),
        ((), ("paris",), ("heat",), "frankfurt", ("heat",)),
        ((), ("paris",), ("heat",), "", ("heat",)),
        (("heat", "cpu"), ("paris",), ("cpu",), "frankfurt", ("cpu",)),
        (("heat",), ("paris",), ("none",), "frankfurt", ("none",)),
        (("heat",), ("paris",), (), "frankfurt", ("heat",)),
    ],
)
def test_where_what_may_be_kept(
    out: tuple[str, ...], kept_at: tuple[str, ...], elsewhere: tuple[str, ...], place: str, groups: tuple[str, ...]
) -> None:
    settings = RegionSettings(
        policy=Policy(telemetry_fields=out), telemetry=TelemetrySettings(kept_at=kept_at, elsewhere=elsewhere)
    )
    assert kept_groups(settings, place) == groups


def test_no_rule_takes_nothing_out() -> None:
    window = Window(start_s=1.0, seconds=1.0, boot="b", started_monotonic_s=1.0, device=DeviceWindow(cpu_percent=1.0))
    assert kept_window(window, None, "") is window


def test_settings_of_a_later_version_are_read_as_far_as_they_are_known() -> None:
    data = to_bytes(RegionSettings(telemetry=TelemetrySettings(keep_days=3.0)))
    assert from_bytes(data).telemetry.keep_days == 3.0
    later = data.replace(b'"keep_days"', b'"smell":1,"keep_days"')[:-1] + b',"colour":"red"}'
    assert from_bytes(later) == from_bytes(data)


def test_settings_that_are_shown_as_toml_are_read_as_the_same() -> None:
    table = {
        "policy": {
            "objectives": {"pi-zero-2-w": "latency"},
            "windows": [{"start": "22:00", "end": "05:00", "days": ["saturday"]}],
            "governor": {"throttled": True, "max_temperature_c": 70.5},
            "interfaces": ["eth*"],
            "timezone": 'odd "name" \\ ü',
        },
        "broker": "mq:8883",
    }
    text = toml_out.write(table, ("regions", "eu-west"))
    assert tomllib.loads(text) == {"regions": {"eu-west": table}}
    assert tomllib.loads(toml_out.write({}, ("regions", "eu-west"))) == {"regions": {"eu-west": {}}}


def test_what_is_older_than_its_region_keeps_it_is_removed_and_nothing_else(server: Server, client: TestClient) -> None:
    now = time.time()
    apply(client, {"telemetry": {"keep_days": 2}})
    with server.database.write() as connection:
        for device in ("one", "far"):
            for days in (1, 3):
                window = Window(start_s=now, seconds=10.0, boot="b", started_monotonic_s=float(days))
                telemetry.add(connection, device, window, now - days * 86400, now)
    server.roller.tidy()
    assert server.counters.get("windows_pruned") == 1
    with server.database.read() as connection:
        left = {name: telemetry.count_of(connection, name, 0, now + 1) for name in ("one", "far")}
    assert left == {"one": 1, "far": 2}


@pytest.mark.parametrize(
    ("version", "own", "days", "said"),
    [
        (None, None, 7.0, "7 days: [keep] windows_days of server.toml"),
        (3, None, 3.0, "3 days: telemetry.keep_days of its version; [keep] windows_days of server.toml would allow 7"),
        (
            30,
            None,
            7.0,
            "7 days: [keep] windows_days of server.toml allows no more, though telemetry.keep_days of its version says 30",
        ),
        (
            30,
            60.0,
            30.0,
            "30 days: telemetry.keep_days of its version; [regions.eu-west.keep] windows_days of server.toml would allow 60",
        ),
        (
            3,
            1.0,
            1.0,
            "1 day: [regions.eu-west.keep] windows_days of server.toml allows no more, though telemetry.keep_days",
        ),
    ],
)
def test_a_region_says_which_setting_keeps_its_windows_and_they_go_by_it(
    make_server: MakeServer, version: float | None, own: float | None, days: float, said: str
) -> None:
    keeps = {} if own is None else {WEST: RegionKeep(windows_days=own)}
    server, now = make_server(1, region_keeps=keeps), time.time()
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    if version is not None:
        done = apply(client, {"telemetry": {"keep_days": version}}).json()["regions"][0]
        assert said in done["kept"] and said in effect_text(done, planned=False)
    state = DeviceState(device="one", session=1, boot="b", at_s=1.0, agent_version="0.1.0", region=WEST, hardware=PI4)
    with server.database.write() as connection:
        devices.put_state(connection, state, encode(state), now, live=True)
        for age in (days - 0.5, days + 0.5):
            window = Window(start_s=now, seconds=10.0, boot="b", started_monotonic_s=age)
            telemetry.add(connection, "one", window, now - age * 86400, now)
    shown = client.get(f"/v1/regions/{WEST}").json()["windows_kept"]
    assert shown["days"] == days and said in shown["words"]
    server.controller._prune(now)
    server.roller.tidy()
    with server.database.read() as connection:
        assert telemetry.count_of(connection, "one", 0, now + 1) == 1
    server.database.close()


def test_a_file_that_is_nested_too_deep_is_no_toml(tmp_path: Path) -> None:
    file = tmp_path / "regions.toml"
    file.write_text("x = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(BadRequest, match="is not TOML"):
        read_file(file)
