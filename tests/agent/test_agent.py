"""What a device does with what it is told, from the first start on."""

from tests.fakes.device import assign, fleet, package, proven


def test_a_device_installs_tries_serves_and_proves_what_its_region_wishes() -> None:
    device, hub = fleet()
    first = package(1)
    hub.publish(first)
    hub.roll_out(assign(first))

    device.boot().run(until=proven(first))

    assert device.serving() == "fashion/1"
    assert device.phase() == "proven"
    assert [kind for kind in device.kinds() if kind != "assigned"] == ["chosen", "tried", "activated", "proven"]
    state = device.state()
    assert state is not None and state.region == "eu-west" and state.bytes_received > 0
    assert all(count == 1 for topic, count in device.broker.delivered.items() if "/chunk/" in topic)
