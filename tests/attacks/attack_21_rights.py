"""A device with a good certificate that reaches for what is not its own: by writing, reading, a will, another's client id."""

from pathlib import Path

from edgefleet_protocol.topics import TABLE, Topics
from tests.attacks.report import must
from tests.fakes.tls_broker import TlsBroker, TlsClient, names_in, wait_until

EXPECTED = "a device writes only its own topics and hears only its own and the shared, and stands when another uses its client id"
ALLOWED = ("Success", "No matching subscribers")
SHA = "ab" * 32


def run(folder: Path) -> str:
    """Try every row of the protocol's table, on a real Mosquitto with the product's configuration."""
    with TlsBroker(folder) as broker, broker.client(broker.hub) as hub:
        hub.subscribe("#", 1)
        writes = _writes(broker)
        reads = _reads(broker, hub)
        _wills(broker, hub)
        _takeover(broker)
        _control(broker)
    return f"{writes} publications refused and only its own taken, {reads} subscriptions brought nothing of another's"


def _topics(topics: Topics, device: str) -> dict[str, bool]:
    """Every kind of topic, for a device's name; whether that device may write there."""
    found = {
        topics.trust("head"): False,
        topics.trust("2.root.json"): False,
        topics.target(SHA): False,
        topics.chunk(SHA): False,
        topics.note: False,
    }
    for row in TABLE:
        if "{id}" in row.pattern:
            found[topics.of_device(device, row.kind)] = row.writer == "device"
    return found


def _writes(broker: TlsBroker) -> int:
    other = Topics("other-fleet")
    refused = 0
    tries = _topics(broker.topics, "dev-a")
    tries |= dict.fromkeys(_topics(broker.topics, "dev-b"), False) | {
        "dev-a": False,
        "edgefleet/v1": False,
        "$SYS/x": False,
    }
    tries |= dict.fromkeys(_topics(other, "dev-a"), False)
    tries |= {f"{broker.topics.prefix}/device/dev-a": False, f"{broker.topics.of_device('dev-a', 'state')}/x": False}
    tries |= {topic: may for topic, may in _topics(broker.topics, "dev-a").items() if may}
    with broker.client(broker.certificate("dev-a")) as device:
        for topic, may in tries.items():
            said = device.publish(topic, b"", retain=True)
            must((said in ALLOWED) == may, f"publishing to {topic} was answered {said!r}")
            must(device.connected, f"publishing to {topic} ended the connection")
            refused += not may
    return refused


def _reads(broker: TlsBroker, hub: TlsClient) -> int:
    other = Topics("other-fleet")
    filters: tuple[str, ...] = (
        "#",
        "edgefleet/#",
        "edgefleet/v1/+/device/+/command",
        f"{other.prefix}/#",
        "$SYS/#",
        "$CONTROL/#",
        "$share/g/#",
    )
    filters += tuple(
        f"{broker.topics.prefix}/{more}" for more in ("#", "device/+/state", "device/dev-b/#", "telemetry/+")
    )
    filters += tuple(_topics(broker.topics, "dev-b"))
    with broker.client(broker.certificate("dev-b")) as victim, broker.client(broker.certificate("dev-a")) as device:
        victim.publish(broker.topics.of_device("dev-b", "state"), b"secret", retain=True)
        hub.publish(broker.topics.of_device("dev-b", "assignment"), b"secret", retain=True)
        hub.publish(broker.topics.trust("head"), b"shared", retain=True)
        for topic in filters:
            device.subscribe(topic, 1)  # granted, and nothing comes
        victim.publish(broker.topics.of_device("dev-b", "event"), b"secret")
        victim.publish(broker.topics.of_device("dev-b", "telemetry"), b"secret")
        hub.publish(broker.topics.of_device("dev-b", "command"), b"secret")
        hub.publish(broker.topics.of_device("dev-a", "command"), b"last")
        wait_until("its own command comes", lambda: device.received(broker.topics.of_device("dev-a", "command")))
        heard = names_in(device.messages)
        allowed = {broker.topics.of_device("dev-a", "command"), broker.topics.trust("head")}
        must(heard == allowed, f"it heard {sorted(heard - allowed)}, and not {sorted(allowed - heard)}")
    return len(filters)


def _wills(broker: TlsBroker, hub: TlsClient) -> None:
    pair = broker.certificate("dev-w")
    for topic in (
        broker.topics.of_device("dev-b", "presence"),
        broker.topics.trust("head"),
        broker.topics.of_device("dev-w", "presence"),
    ):
        device = broker.client(pair, will=(topic, b"a will"))
        must(device.open(), f"a device with a will on {topic} was not let in: {device.why}")
        device.cut()
        own = topic == broker.topics.of_device("dev-w", "presence")
        if own:
            wait_until("its own will is sent", lambda topic=topic: b"a will" in hub.received(topic))
    spoken = {topic for topic, payload, _ in list(hub.messages) if payload == b"a will"}
    must(len(spoken) == 1, f"wills came on {sorted(spoken)}")


def _takeover(broker: TlsBroker) -> None:
    with broker.client(broker.certificate("dev-c"), client_id="dev-c") as victim:
        thief = broker.client(broker.certificate("dev-d"), client_id="dev-c", username="dev-c")
        must(thief.open(), f"it was not let in under its own name: {thief.why}")
        said = thief.publish(broker.topics.of_device("dev-c", "state"))
        must(said == "Not authorized", f"with another's client id and user name its publication was answered {said!r}")
        said = victim.publish(broker.topics.of_device("dev-c", "state"))
        must(victim.connected and said in ALLOWED, "another's client id ended the connection")
        thief.close()


def _control(broker: TlsBroker) -> None:
    """The plugin by which the server ends connections obeys nobody else."""
    with broker.client(broker.certificate("dev-e")) as device:
        said = device.publish("$CONTROL/dynamic-security/v1", b'{"commands":[{"command":"listClients"}]}')
        must(said == "Not authorized", f"a device's word to the plugin was answered {said!r}")
