"""Whatever a device sends, the server refuses it in one of the documented ways, counts it, and is as it was."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Reply
from edgefleet_protocol.topics import Kind
from edgefleet_protocol.trust import DEVICE_STATE_TYPE
from edgefleet_server.app import Server
from edgefleet_server.config import IdentityConfig
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.store import commands, devices
from tests.fakes.identity import FakeAuthority

from .conftest import MakeServer

CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "golden/hostile").glob("*.bin"))]
AUTHORITY = FakeAuthority()
SIGNER = AUTHORITY.issue("pi-1")
STATE = DeviceState(
    device="pi-1", session=1, boot="b", at_s=1.0, agent_version="0.1.0", starts=("a",), number=5, certificate=SIGNER.certificate
)  # fmt: skip
GOOD = SIGNER.sign_envelope(DEVICE_STATE_TYPE, encode(STATE))
ANSWER = encode(Reply(device="pi-1", number=1, ok=True, text="pong", epoch="e"))

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
documents = st.dictionaries(
    st.sampled_from([*DeviceState.__struct_fields__, *Reply.__struct_fields__, "payloadType", "payload", "signatures"]),
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_size=12,
).map(lambda row: json.dumps(row).encode())  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Return a good message with some bytes changed, cut or doubled."""
    data = bytearray(draw(st.sampled_from([GOOD, encode(STATE), ANSWER])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at] ^= draw(st.integers(1, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@st.composite
def well_signed(draw: st.DrawFn) -> bytes:
    """Return rubbish that the device's own key has signed: a device that went bad."""
    return SIGNER.sign_envelope(DEVICE_STATE_TYPE, draw(documents | st.binary(max_size=200)))


hostile = st.binary(max_size=300) | documents | spoiled() | well_signed()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    AUTHORITY.write(folder := tmp_path_factory.mktemp("identity"))
    return folder


@pytest.fixture
def server(make_server: MakeServer, folder: Path) -> Iterator[Server]:
    server = make_server(1, identity=IdentityConfig(folder))
    server.router.handle([incoming(server, "state", GOOD)])
    yield server
    server.database.close()


def incoming(server: Server, kind: Kind, data: bytes) -> Incoming:
    return Incoming(server.topics.of_device("pi-1", kind), data, retained=False, session=1, mid=1, qos=1)


def memory(server: Server) -> object:
    with server.database.read() as connection:
        return devices.every(connection), commands.latest(connection, "pi-1"), server.views.audit(1000)


def test_hostile_states_and_replies_change_nothing_but_counters(server: Server) -> None:
    before = memory(server)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(kind=st.sampled_from(["state", "reply"]), data=hostile)
    def attack(kind: Kind, data: bytes) -> None:
        counted = sum(server.counters.snapshot().values())
        server.router.handle([incoming(server, kind, data)])
        assert sum(server.counters.snapshot().values()) == counted + 1
        assert memory(server) == before

    for data in CORPUS:
        for kind in ("state", "reply"):
            attack = example(kind=kind, data=data)(attack)
    attack()
    names = set(server.counters.snapshot())
    assert names <= {"state_taken", "state_refused", "state_stale", "reply_refused", "reply_stale"}, names
    assert server.counters.get("state_refused") > len(CORPUS) // 2
    assert {row["kind"] for row in server.views.events()} <= {"state-refused"}
