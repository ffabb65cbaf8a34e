"""What a device asserts of itself: signed by its own key, and of one start of one board only."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edgefleet_agent.store.counters import NAME
from edgefleet_protocol.codec import decode
from edgefleet_protocol.dsse import Verify, is_envelope, open_own
from edgefleet_protocol.messages import MAX_MESSAGE_BYTES, MAX_STARTS, DeviceState
from edgefleet_protocol.trust import DEVICE_STATE_TYPE
from tests.fakes.device import STATE, FakeDevice, assign, fleet, package, proven
from tests.fakes.disk import ALL_LOST
from tests.fakes.identity import FakeAuthority


def key_in(payload: bytes) -> Verify:
    state = decode(payload, DeviceState)
    public = x509.load_pem_x509_certificate(state.certificate.encode()).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)

    def verify(signature: bytes, message: bytes) -> bool:
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return True

    return verify


def test_a_state_is_signed_by_the_devices_own_key_and_fits_into_a_message() -> None:
    device, hub = fleet()
    device.signer = FakeAuthority().issue("pi-1")
    release = package(1, {f"v{n}": 0.9 for n in range(40)}, wrong=tuple(f"v{n}" for n in range(39)))
    hub.publish(release)
    hub.roll_out(assign(release))
    device.boot().run(turns=120)
    states = device.broker.payloads("/state")
    assert states and all(is_envelope(data) for data in states)
    assert max(map(len, states)) <= MAX_MESSAGE_BYTES
    state = decode(open_own(states[-1], DEVICE_STATE_TYPE, key_in), DeviceState)
    assert state.certificate == device.signer.certificate
    assert state.machine == device.probe.serial


def test_a_device_without_an_identity_says_its_state_as_it_is() -> None:
    device, _ = fleet()
    device.boot().run(lambda it: it.state() is not None)
    assert not is_envelope(device.broker.payloads("/state")[-1])


def states(device: FakeDevice) -> list[DeviceState]:
    return [decode(data, DeviceState) for data in device.broker.payloads("/state")]


def test_each_start_adds_its_nonce_and_counts_what_it_tells() -> None:
    device, _ = fleet()
    for _ in range(MAX_STARTS + 2):
        device.boot().run(turns=4)
        device.disk = device.disk.survivor(ALL_LOST)
        device.broker.cut()
    lines: dict[str, list[DeviceState]] = {}
    for state in states(device):
        lines.setdefault(state.starts[-1], []).append(state)
    assert len(lines) == MAX_STARTS + 2
    for rows in lines.values():
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    last = states(device)[-1].starts
    assert last == tuple(lines)[-MAX_STARTS:]


def test_of_two_copies_neither_goes_on_from_the_other() -> None:
    device, _ = fleet()
    device.boot().run(turns=4)
    device.stop()
    copies = []
    for _ in range(2):
        twin = FakeDevice(broker=device.broker.copy(), disk=device.disk.survivor(ALL_LOST))
        twin.boot().run(turns=4)
        copies.append(states(twin)[-1].starts)
    assert copies[0][:-1] == copies[1][:-1]
    assert copies[0][-1] != copies[1][-1]


def test_damaged_facts_do_not_lose_the_starts_and_a_lost_counter_does_not_lose_the_facts() -> None:
    device, hub = fleet()
    release = package(1)
    hub.publish(release)
    hub.roll_out(assign(release))
    device.boot().run(proven(release))
    before = states(device)[-1].starts
    device.stop()
    device.disk.write(STATE / "facts.json", b"{torn")
    device.boot().run(turns=4)
    assert states(device)[-1].starts[:-1] == before
    device.stop()
    device.disk.write(STATE / NAME, b"\xff")
    device.boot().run(turns=4)
    after = states(device)[-1]
    assert len(after.starts) == 1
    assert after.region == "eu-west"
