"""What comes in has an end, and what is needed stays."""

from edgefleet_server.link.inbox import OVERHEAD_BYTES, Inbox, Incoming


def message(topic: str, payload: bytes, mid: int = 1) -> Incoming:
    return Incoming(topic=topic, payload=payload, retained=False, session=1, mid=mid, qos=1)


def read(inbox: Inbox) -> list[tuple[str, bytes]]:
    found = []
    while (one := inbox.get(0.0)) is not None:
        found.append((one.topic, one.payload))
    return found


def test_what_does_not_fit_is_given_back_and_the_newest_state_of_each_device_stays() -> None:
    inbox = Inbox(3 * (OVERHEAD_BYTES + 2))
    assert [inbox.put(message("event", b"%02d" % n), keep=False) for n in range(3)] == [None] * 3
    late = message("event", b"03")
    assert inbox.put(late, keep=False) is late
    first, second = message("state/a", b"a1"), message("state/a", b"a2")
    assert inbox.put(first, keep=True) is None
    assert inbox.put(message("state/b", b"b1"), keep=True) is None
    assert inbox.put(second, keep=True) is first
    assert inbox.get(0.0) == message("event", b"00")
    assert inbox.put(message("state/a", b"a3"), keep=True) is second, "room again, and yet not before an older one"
    assert read(inbox) == [("event", b"01"), ("event", b"02"), ("state/b", b"b1"), ("state/a", b"a3")]
    assert inbox.put(message("event", b"04"), keep=False) is None
    assert read(inbox) == [("event", b"04")]


def test_a_closed_inbox_lets_nobody_wait() -> None:
    inbox = Inbox()
    inbox.close()
    assert inbox.get(60.0) is None
