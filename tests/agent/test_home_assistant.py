"""A device shows itself in its owner's Home Assistant, over the owner's broker, and only when told to."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgefleet_agent import config as configuration
from edgefleet_agent.errors import BadConfig
from edgefleet_agent.home import DEVICE, Topics, announcement, said, values
from edgefleet_agent.link.home import HomeLink
from edgefleet_agent.loop import telling_home
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, Window
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.device import assign, fleet, package, proven

BASE = {"fleet": "demo", "device": "porch-1", "root": "root.json"}


def window(device: DeviceWindow, requests: int = 0) -> Window:
    builder = SketchBuilder()
    for _ in range(requests):
        builder.add(0.01)
    row = ModelWindow(model="fashion", release="fashion/1", release_sha256="0" * 64, variant="small", requests=requests,
                      latency=builder.build())  # fmt: skip
    return Window(start_s=0.0, seconds=60, boot="b", started_monotonic_s=0.0, device=device, models=(row,))


class HomeAssistant:
    """Reads what is retained, as Home Assistant does at its start and ever after."""

    def __init__(self, port: int) -> None:
        self.topics: dict[str, bytes] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *rest: client.subscribe([("homeassistant/#", 0), ("edgefleet/#", 0)])
        self._client.on_message = lambda client, data, message: self.topics.update({message.topic: message.payload})
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def shows(self, name: str, component: str = "sensor") -> bool:
        return f"homeassistant/{component}/edgefleet-porch-1/{name}/config" in self.topics

    def value(self, name: str) -> object:
        return json.loads(self.topics.get("edgefleet/demo/porch-1/home", b"{}")).get(name)

    @property
    def availability(self) -> bytes:
        return self.topics.get("edgefleet/demo/porch-1/home/availability", b"")

    def __enter__(self) -> "HomeAssistant":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, as long as it takes."""
    while not holds():
        threading.Event().wait(0.005)


def settings(tmp_path: Path, port: int, **more: object) -> configuration.Config:
    return configuration.from_dict({**BASE, "home_assistant": {"host": "127.0.0.1", "port": port, **more}}, tmp_path)


def test_a_device_appears_with_what_it_has_and_goes_with_its_will(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path / "broker", "mosquitto") as broker, HomeAssistant(broker.port) as seen:
        link = HomeLink(settings(tmp_path, broker.port))
        link.start()
        link.tell(values(window(DeviceWindow(temperature_c=50.5, battery_charging=False), requests=3), None), None)
        until(lambda: seen.value("temperature_c") == 50.5 and seen.availability == b"online")
        assert seen.shows("temperature_c") and seen.shows("battery_charging", "binary_sensor")
        assert not seen.shows("power_w") and seen.value("fashion_requests") == 3
        link.tell(values(window(DeviceWindow(power_w=4.0)), None), None)
        until(lambda: seen.value("power_w") == 4.0)
        assert seen.shows("power_w") and seen.value("temperature_c") is None, "what went is unknown, and not as it was"
        link.stop()
        until(lambda: seen.availability == b"offline")


def test_a_broker_that_was_away_is_told_everything_anew(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path / "broker", "mosquitto")
    link = HomeLink(settings(tmp_path, broker.port))
    link.start()
    link.tell(values(window(DeviceWindow(temperature_c=50.5)), None), None)
    with broker, HomeAssistant(broker.port) as seen:
        until(lambda: seen.value("temperature_c") == 50.5 and seen.shows("temperature_c"))
        link.stop()


def test_nothing_is_connected_unless_the_owner_names_a_broker_and_a_running_agent_tells_each_window_once(
    tmp_path: Path,
) -> None:
    threads = threading.active_count()
    device, hub = fleet()
    hub.publish(package(1))
    hub.roll_out(assign(package(1)))
    device.boot()
    with telling_home(configuration.from_dict(BASE, tmp_path)) as tell:
        device.run(until=proven(package(1)))
        tell(device.agent)
        assert threading.active_count() == threads
    with BrokerProcess(tmp_path / "broker", "mosquitto") as broker, HomeAssistant(broker.port) as seen:
        with telling_home(settings(tmp_path, broker.port)) as tell:
            device.run(turns=10)
            tell(device.agent)
            tell(device.agent)
            until(lambda: seen.value("fashion_release") == "fashion/1")
        until(lambda: seen.availability == b"offline")


def test_an_announcement_is_what_discovery_documents() -> None:
    topics = Topics("demo", "porch-1", "homeassistant")
    row = json.loads(announcement(topics, DEVICE[0], None))
    assert {"name", "unique_id", "state_topic", "availability_topic", "value_template", "device", "origin"} <= set(row)
    assert (row["device_class"], row["unit_of_measurement"]) == ("temperature", "°C")
    assert row["value_template"] == "{{ value_json['temperature_c'] }}"
    assert row["device"]["identifiers"] == ["edgefleet-demo-porch-1"]
    assert topics.config(DEVICE[0]) == "homeassistant/sensor/edgefleet-porch-1/temperature_c/config"
    assert json.loads(said({}, DEVICE[:1])) == {"temperature_c": None}


def test_a_password_is_read_from_its_file_and_one_that_is_not_there_is_said_and_keeps_nothing_from_being_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device, hub = fleet()
    hub.publish(package(1))
    hub.roll_out(assign(package(1)))
    device.boot()
    with telling_home(settings(tmp_path, 1, username="ana", password_file="none")) as tell:
        device.run(until=proven(package(1)))
        tell(device.agent)
    assert "Home Assistant is told nothing: [home_assistant]: password_file" in caplog.text
    with pytest.raises(BadConfig, match="password_file"):
        HomeLink(settings(tmp_path, 1, username="ana", password_file="none"))
    (tmp_path / "secret").write_text("s3cret\n")
    assert HomeLink(settings(tmp_path, 1, username="ana", password_file="secret"))._client.password == "s3cret"
