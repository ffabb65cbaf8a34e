"""Every topic is made and read by one table; a hostile one is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.topics import TABLE, Parsed, Topics

TOPICS = Topics("demo")
SHA = "ab" * 32
OF_DEVICE = tuple(row.kind for row in TABLE if "{id}" in row.pattern)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True)


@given(LABELS, LABELS, st.sampled_from(OF_DEVICE))
def test_a_device_topic_comes_back(fleet, device, kind):
    topics = Topics(fleet)
    assert topics.parse(topics.of_device(device, kind)) == Parsed(kind, device)


@pytest.mark.parametrize("name", ("head", "timestamp.json", "1.root.json", "12.rollouts-eu-west.json"))
def test_metadata_comes_back(name):
    assert TOPICS.parse(TOPICS.trust(name)) == Parsed("trust", name)


def test_digests_come_back():
    assert TOPICS.parse(TOPICS.target(SHA)) == Parsed("target", SHA)
    assert TOPICS.parse(TOPICS.chunk(SHA)) == Parsed("chunk", SHA)


def test_topics_are_what_the_documentation_says():
    assert TOPICS.chunk(SHA) == f"edgefleet/v1/demo/chunk/{SHA}"
    assert TOPICS.of_device("pi-7", "state") == "edgefleet/v1/demo/device/pi-7/state"
    assert TOPICS.of_device("pi-7", "telemetry") == "edgefleet/v1/demo/telemetry/pi-7"
    assert TOPICS.all_devices("state") == "edgefleet/v1/demo/device/+/state"


P = "edgefleet/v1/demo"


@pytest.mark.parametrize(
    "topic",
    (
        "", "/", P, P + "/", "edgefleet/v1/other/device/a/state", "edgefleet/v2/demo/device/a/state",
        "edgefleet/v1/demo2/device/a/state", f"/{P}/device/a/state", f"{P}/device/a", f"{P}/device//state",
        f"{P}/device/a/state/", f"{P}/device/a/b/state", f"{P}/device/+/state", f"{P}/device/#", f"{P}/device/A/state",
        f"{P}/device/../state", f"{P}/device/a/other", f"{P}/device/a\n/state", f"{P}/device/a/state\n",
        f"{P}/device/a\0/state", f"{P}/telemetry/", f"{P}/telemetry/+", f"{P}/chunk/{SHA[:-1]}", f"{P}/chunk/{SHA.upper()}",
        f"{P}/chunk/+", f"{P}/chunk/{SHA}/x", f"{P}/target/../{SHA}", f"{P}/target/", f"{P}/trust/", f"{P}/trust/root.json",
        f"{P}/trust/0.root.json", f"{P}/trust/01.root.json", f"{P}/trust/1.root.json.bak", f"{P}/trust/1.ROOT.json",
        f"{P}/trust/1.root.json\n", f"{P}/trust/..", f"{P}/trust/1.a/b.json", f"{P}/TRUST/head", "$SYS/broker/uptime",
    ),
)  # fmt: skip
def test_a_hostile_topic_is_refused(topic):
    with pytest.raises(BadName):
        TOPICS.parse(topic)


@given(st.text())
def test_any_text_is_parsed_or_refused(text):
    for topic in (text, f"{P}/{text}", f"{P}/device/{text}", f"{P}/device/{text}/state"):
        try:
            parsed = TOPICS.parse(topic)
        except BadName:
            continue
        assert topic.endswith(parsed.name) or f"/{parsed.name}/" in topic


@pytest.mark.parametrize("fleet", ("", "a/b", "+", "#", "A"))
def test_a_fleet_needs_a_name(fleet):
    with pytest.raises(BadName):
        Topics(fleet)


def test_wrong_names_make_no_topic():
    for make in (TOPICS.target, TOPICS.chunk, TOPICS.trust):
        with pytest.raises(BadName):
            make("../x")
    with pytest.raises(BadName):
        TOPICS.of_device("a/b", "state")
    for kind in ("trust", "target", "chunk"):
        with pytest.raises(BadName, match="no topic of"):
            TOPICS.of_device("a", kind)
        with pytest.raises(BadName, match="no topic of"):
            TOPICS.all_devices(kind)


def test_a_device_writes_only_below_its_own_name_and_reads_only_its_own_and_what_is_shared():
    lines = TOPICS.acl().splitlines()[1:]
    devices = lines[: lines.index("user hub")]
    writes = [line for line in devices if line.startswith("pattern write ")]
    reads = [line for line in devices if line.startswith("pattern read ")]
    assert len(writes) + len(reads) == len(devices)
    assert all(line.count("%u") == 1 and "+" not in line and "#" not in line for line in writes)
    shared = {f"pattern read {P}/{kind}/+" for kind in ("trust", "target", "chunk")}
    assert shared <= set(reads)
    assert set(reads) - shared == {f"pattern read {P}/device/%u/assignment", f"pattern read {P}/device/%u/command"}


def test_the_server_writes_what_is_its_own_and_clears_what_is_retained_and_no_more():
    rights = {(right.access, right.filter.removeprefix(P + "/")) for right in TOPICS.rights_of_server()}
    for row in TABLE:
        name = row.pattern.replace("{id}", "+").replace("{name}", "+")
        assert ("write", name) in rights or (row.writer == "device" and not row.retained)
        assert ("read", name) in rights or (row.writer == "server" and not row.retained)
    assert ("write", "device/+/event") not in rights
    assert ("write", "telemetry/+") not in rights


def test_the_servers_note_is_a_topic_that_no_device_reads():
    assert TOPICS.parse(TOPICS.note).kind == "note"
    assert not any("server" in right.filter for right in TOPICS.rights_of_device("a"))


def test_a_process_that_takes_telemetry_beside_the_server_may_read_that_and_nothing_else():
    rights = Topics("demo").rights_of_helper()
    assert [(right.access, right.filter) for right in rights] == [("read", "edgefleet/v1/demo/telemetry/+")]
    plain, more = Topics("demo").acl(), Topics("demo").acl(helpers=("hub-2",))
    assert more.replace("user hub-2\ntopic read edgefleet/v1/demo/telemetry/+\n", "") == plain
