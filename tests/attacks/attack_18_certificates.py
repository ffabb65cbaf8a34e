"""Certificates that must open nothing: expired, revoked, from the future, none, of another authority, with names that are patterns."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgefleet_protocol.topics import TABLE
from edgefleet_server.broker.kick import kick
from edgefleet_server.link.broker import Broker
from edgefleet_server.link.tls import Tls
from tests.attacks.report import must
from tests.fakes.tls_broker import Pair, TestAuthority, TlsBroker, names_in, wait_until

EXPECTED = "no certificate that is not the fleet's own, valid and unrevoked opens a connection, and no name reaches another's topics"
HOSTILE_NAMES = (
    "+",
    "#",
    "dev-+",
    "dev-#",
    "victim/state",
    "../victim",
    "$SYS",
    "%u",
    "hub/",
    "",
    " hub",
    "victim\nuser hub",
)


def run(folder: Path) -> str:
    """Try each on a real Mosquitto with the product's configuration."""
    with TlsBroker(folder) as broker:
        turned_away = _turned_away(broker)
        _revoked(broker)
        names = _hostile_names(broker)
    return f"{turned_away} kinds turned away, a revoked one cut off and kept out, {names} hostile names reach nothing"


def _turned_away(broker: TlsBroker) -> int:
    now = datetime.now(timezone.utc)
    stranger = TestAuthority(broker.folder / "stranger")
    own = TestAuthority(broker.folder / "namesake")  # calls itself as the real one does, and has another key
    revoked = broker.certificate("dev-revoked")
    broker.revoke(revoked)
    broker.reload()
    wait_until("the reload is done", lambda: not _opens(broker.client(revoked)))
    kinds: dict[str, Pair | None] = {
        "none": None,
        "expired": broker.certificate("dev-expired", not_after=now - timedelta(hours=1)),
        "of the future": broker.certificate("dev-future", not_before=now + timedelta(hours=1)),
        "revoked": revoked,
        "of another authority": stranger.issue("dev-a"),
        "of another authority, as the hub": own.issue("hub"),
        "the broker's own": broker.server,
    }
    for words, pair in kinds.items():
        must(not _opens(broker.client(pair)), f"a certificate that is {words} was let in")
    anonymous = broker.client(None, client_id="hub", username="hub")
    must(not _opens(anonymous), "no certificate and the user name `hub` were let in")
    return len(kinds) + 1


def _opens(client: object) -> bool:
    let_in: bool = client.open()  # type: ignore[attr-defined]
    client.close()  # type: ignore[attr-defined]
    return let_in


def _revoked(broker: TlsBroker) -> None:
    """Connected when it is revoked: the list and a reload leave it connected; the kick ends it, and it stays out."""
    pair = broker.certificate("dev-thief")
    link = Broker(
        "127.0.0.1", broker.port, "any", [], tls=Tls(broker.ca, broker.hub.certificate, broker.hub.key)
    )  # fmt: skip
    link.start()
    must(link.wait_connected(20), "the hub was not let in")
    try:
        with broker.client(pair) as thief:
            broker.revoke(pair)
            broker.reload()
            kick(link, "dev-thief")
            wait_until("the thief is cut off", lambda: not thief.connected)
        must(not _opens(broker.client(pair)), "a revoked certificate came back")
        again = broker.client(broker.certificate("dev-thief", file="dev-thief-2"))
        must(_opens(again), "the device was not let in with a new certificate")
    finally:
        link.stop()


def _hostile_names(broker: TlsBroker) -> int:
    """Such names are never signed; should one be all the same, it reaches nothing of another's."""
    with broker.client(broker.hub) as hub, broker.client(broker.certificate("victim")) as victim:
        hub.subscribe(f"{broker.topics.prefix}/#", 1)
        victim.publish(broker.topics.of_device("victim", "state"), b"true", retain=True)
        victim.subscribe(broker.topics.of_device("victim", "command"), 1)
        wait_until("the victim's state is there", lambda: hub.messages)
        for number, name in enumerate(HOSTILE_NAMES):
            try:
                pair = broker.certificate(name, file=f"hostile-{number}")
            except ValueError:  # no certificate can hold it
                continue
            client = broker.client(pair)
            if not client.open():
                continue
            for row in TABLE:
                if "{id}" in row.pattern:
                    client.publish(broker.topics.of_device("victim", row.kind), b"forged", retain=True)
            client.publish(broker.topics.trust("head"), b"forged", retain=True)
            client.subscribe("#", 1)
            client.subscribe(f"{broker.topics.prefix}/device/+/state", 1)
            hub.publish(broker.topics.of_device("victim", "command"), b"for the victim")
            must(
                client.publish(broker.topics.of_device("victim", "reply")) != "Success",
                f"{name!r} may reply as another",
            )
            theirs = {
                topic for topic in names_in(client.messages) if "/victim/" in topic and not name.startswith("victim")
            }
            must(not theirs, f"{name!r} read {sorted(theirs)}")
            client.close()
        wait_until("the victim still hears", lambda: victim.messages)
        forged = [topic for topic, payload, _ in list(hub.messages) if payload == b"forged"]
        must(not forged, f"forged on {forged}")
    return len(HOSTILE_NAMES)
