"""The owner's own broker, for Home Assistant: what is told there, told once a window, and forgotten when nobody takes it.

It is no part of the fleet: nothing is read there, nothing waits for it, and a broker that is away costs nothing but the attempts of a
thread to reach it. Tried with paho-mqtt 2.2.0.
"""

import ssl

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgefleet_protocol.hardware import Hardware

from .. import home
from ..config import Config, HomeAssistant
from ..errors import BadConfig
from ..text_file import read_text

RETRY_S = (1, 300)


class HomeLink:
    """One connection. `tell` never waits and never raises for what the network does."""

    def __init__(self, config: Config) -> None:
        """Raise BadConfig for a password or an authority that cannot be read."""
        self._settings = config.home_assistant
        self._topics = home.Topics(config.fleet, config.device, self._settings.prefix)
        self._announced: dict[home.Sensor, bytes] = {}
        self._retained: tuple[tuple[str, bytes], ...] = ()
        """What a broker must have: told anew at each connection, for it may have forgotten."""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"edgefleet-home-{config.device}")
        _secure(self._client, self._settings)
        self._client.suppress_exceptions = True
        self._client.connect_timeout = 10.0
        self._client.reconnect_delay_set(*RETRY_S)
        self._client.will_set(self._topics.availability, b"offline", qos=1, retain=True)
        self._client.on_connect = self._on_connect

    def start(self) -> None:
        """Connect, and stay connected."""
        self._client.connect_async(self._settings.host, self._settings.port, keepalive=60)
        self._client.loop_start()

    def tell(self, found: dict[home.Sensor, home.Value], hardware: Hardware | None) -> None:
        """Tell the values of now; announce first what is new among them."""
        for sensor in found:
            if sensor not in self._announced:
                self._announced[sensor] = home.announcement(self._topics, sensor, hardware)
        configs = [(self._topics.config(sensor), payload) for sensor, payload in self._announced.items()]
        before, self._retained = self._retained, (*configs, (self._topics.state, home.said(found, self._announced)))
        if self._client.is_connected():
            for topic, payload in self._retained:
                if (topic, payload) not in before:
                    self._client.publish(topic, payload, retain=True)

    def stop(self) -> None:
        """Say that the device leaves, and end."""
        if self._client.is_connected():
            told = self._client.publish(self._topics.availability, b"offline", qos=1, retain=True)
            told.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        for topic, payload in (*self._retained, (self._topics.availability, b"online")):
            client.publish(topic, payload, retain=True)


def _secure(client: paho.Client, settings: HomeAssistant) -> None:
    """Give the client what it needs to be let in."""
    try:
        if settings.username:
            secret = read_text(settings.password_file).strip() if settings.password_file else None
            client.username_pw_set(settings.username, secret)
        if settings.ca is not None:
            client.tls_set_context(ssl.create_default_context(cafile=str(settings.ca)))
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        raise BadConfig(f"[home_assistant]: password_file or ca cannot be read: {error}") from error
