"""Alerts: what opens one, what is one alert and what are two, and that none flaps."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_server.alerts.facts import AlertFacts, DeviceFacts, Expiry, GroupFacts, RolloutFacts
from edgefleet_server.alerts.judge import Alert, Change, judge
from edgefleet_server.alerts.rules import DEFAULTS, Rule, read_rules
from edgefleet_server.errors import BadConfig

DAY_S = 86400.0
HEAT = Rule("hot", "heat", limit=80.0, clear=75.0, for_s=60.0, clear_s=120.0)
SILENT = Rule("quiet", "silent", limit=900.0, for_s=0.0, clear_s=60.0)


class Watch:
    """Alerts over time, as the server keeps them."""

    def __init__(self, *rules: Rule) -> None:
        self.rules, self.alerts = rules, {}

    def look(self, facts: AlertFacts, now: float) -> list[tuple[str, str]]:
        """Return what somebody is told."""
        told = []
        for change in judge(facts, self.rules, self.alerts, now):
            self.keep(change)
            if change.kind in ("open", "grew", "resolve"):
                told.append((change.kind, change.alert.cause))
        return told

    def keep(self, change: Change) -> None:
        if change.kind in ("drop", "resolve"):
            del self.alerts[change.alert.key]
        else:
            self.alerts[change.alert.key] = change.alert

    def only(self) -> Alert:
        (alert,) = self.alerts.values()
        return alert


def device(name: str, heard_s: float | None = 0.0, region: str = "eu-west", **facts: object) -> DeviceFacts:
    return DeviceFacts(name, region, heard_s, **facts)  # type: ignore[arg-type]


def hot(celsius: float) -> AlertFacts:
    return AlertFacts(devices=(device("one", 0.0, temperature_c=celsius),))


def test_an_alert_opens_when_it_held_for_long_and_ends_when_it_was_gone_for_long() -> None:
    watch = Watch(HEAT)
    assert watch.look(hot(81), 0) == []
    assert watch.look(hot(81), 59) == []
    assert watch.look(hot(82), 60) == [("open", "heat")]
    assert watch.look(hot(77), 100) == []  # below the limit, above what clears it
    assert watch.look(hot(77), 900) == []
    assert watch.look(hot(74), 1000) == []
    assert watch.look(hot(76), 1100) == []  # again: the count of being gone starts anew
    assert watch.look(hot(74), 1200) == []
    assert watch.look(hot(74), 1320) == [("resolve", "heat")]
    assert watch.alerts == {}


def test_what_holds_too_shortly_is_no_alert() -> None:
    watch = Watch(HEAT)
    assert watch.look(hot(99), 0) == watch.look(hot(20), 30) == watch.look(hot(99), 31) == watch.look(hot(99), 80) == []


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1, 90), st.sampled_from([20.0, 74.9, 75.0, 77.0, 80.0, 99.0])), max_size=80),
    st.floats(0, 200),
    st.floats(0, 200),
)
def test_no_series_of_values_makes_an_alert_flap(
    series: list[tuple[float, float]], for_s: float, clear_s: float
) -> None:
    watch, now, told = Watch(replace(HEAT, for_s=for_s, clear_s=clear_s)), 0.0, []
    for step, celsius in series:
        now += step
        told += [(kind, now) for kind, _ in watch.look(hot(celsius), now)]
    kinds = [kind for kind, _ in told]
    assert kinds == ["open", "resolve"] * (len(kinds) // 2) + ["open"] * (len(kinds) % 2)
    opened = [at for kind, at in told if kind == "open"]
    assert all(later - earlier >= for_s + clear_s for earlier, later in pairwise(opened))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), max_size=60))
def test_devices_that_come_and_go_never_make_more_than_two_alerts_of_a_region(rows: list[list[bool]]) -> None:
    watch, heard, told = Watch(SILENT), [0.0] * 6, []
    for turn, speaks in enumerate(rows, 1):
        now = turn * 300.0
        heard = [now if said else before for said, before in zip(speaks, heard, strict=True)]
        told += watch.look(AlertFacts(tuple(device(f"d{n}", at) for n, at in enumerate(heard))), now)
        assert len(watch.alerts) <= 2
    for cause in ("outage", "silent"):
        kinds = [kind for kind, what in told if what == cause and kind != "grew"]
        assert kinds == (["open", "resolve"] * len(kinds))[: len(kinds)]


def test_a_carriers_outage_is_one_alert_with_a_count_and_examples() -> None:
    watch = Watch(SILENT)
    fleet = [device(f"d{n:03}", 90_100.0 + n) for n in range(200)]
    fleet += [device("far", 95_000.0, "ap-south"), device("long-gone", 10.0), device("never", None)]
    told = watch.look(AlertFacts(tuple(fleet)), 91_500.0)
    assert sorted(told) == [("open", "outage"), ("open", "silent")]
    outage = watch.alerts["quiet", "eu-west", "outage"]
    assert len(outage.subjects) == 200
    assert outage.text == "200 devices in eu-west fell silent together: d000, d001, d002, d003, d004 and 195 more"
    assert outage.evidence == "/v1/devices?region=eu-west" and "carrier" in outage.next_step
    alone = watch.alerts["quiet", "eu-west", "silent"]
    assert alone.subjects == ("long-gone",) and alone.evidence == "/v1/devices/long-gone"
    # All but two come back: they stay in the outage, which is still the same alert.
    fleet = [device(row.id, 92_000.0 if n > 1 else row.last_heard_s, row.region or "") for n, row in enumerate(fleet)]
    assert watch.look(AlertFacts(tuple(fleet)), 92_400.0) == []
    assert watch.alerts["quiet", "eu-west", "outage"].subjects == ("d000", "d001")


def test_an_outage_that_grows_is_told_again_and_not_at_every_device() -> None:
    watch, told = Watch(SILENT), []
    for silent in range(3, 100):
        fleet = tuple(device(f"d{n}", 0.0 if n < silent else 1000.0) for n in range(100))
        told += watch.look(AlertFacts(fleet), 1000.0 + silent)
    assert [kind for kind, _ in told] == ["open", "grew", "grew", "grew", "grew", "grew"]


def test_without_a_broker_nobody_is_called_silent_and_nobody_is_called_back() -> None:
    rules = (SILENT, Rule("gone", "broker", for_s=0.0, clear_s=0.0))
    watch, quiet = Watch(*rules), (device("one", 0.0), device("two", 900.0))
    assert watch.look(AlertFacts(quiet), 1000.0) == [("open", "silent")]
    assert watch.look(AlertFacts(quiet, broker_connected=False), 5000.0) == [("open", "broker")]
    assert watch.look(AlertFacts(quiet, broker_connected=False), 9000.0) == []
    back = AlertFacts(quiet, listening_since_s=9100.0)
    assert watch.look(back, 9101.0) == [("resolve", "broker")]
    assert watch.look(back, 9200.0) == []
    assert watch.alerts["quiet", "eu-west", "silent"].subjects == ("one",), "two may speak first"
    spoke = AlertFacts((device("one", 9210.0), device("two", 900.0)), listening_since_s=9100.0)
    assert watch.look(spoke, 9220.0) == []
    assert watch.look(spoke, 9290.0) == [("resolve", "silent")]


def test_a_server_that_starts_anew_neither_calls_back_who_is_silent_nor_makes_an_outage_of_them() -> None:
    watch, days = Watch(SILENT), 86_400.0
    fleet = tuple(device(f"d{n}", n * days) for n in range(5))  # each fell silent on a day of its own
    assert watch.look(AlertFacts(fleet), 9 * days) == [("open", "silent")]
    for after_s in (10.0, 100.0, 899.0, 1000.0, 5000.0):
        anew = AlertFacts(fleet, listening_since_s=9 * days + 60.0)
        assert watch.look(anew, 9 * days + 60.0 + after_s) == [], "it holds as it did"
    assert set(watch.alerts) == {("quiet", "eu-west", "silent")}


def test_devices_of_one_outage_while_the_server_was_away_are_one_outage() -> None:
    watch = Watch(SILENT)
    fleet = tuple(device(f"d{n}", 1000.0 + n) for n in range(5))
    assert watch.look(AlertFacts(fleet, listening_since_s=5000.0), 5800.0) == [], "they may speak first"
    assert watch.look(AlertFacts(fleet, listening_since_s=5000.0), 5901.0) == [("open", "outage")]


@pytest.mark.parametrize(
    ("facts", "rule", "words"),
    [
        (AlertFacts(groups=(GroupFacts("eu-west", "m", "m/1", "int8", 500, p95_s=1.2),)), "region-p95", "1200 ms"),
        (
            AlertFacts(groups=(GroupFacts("eu-west", "m", "m/1", "int8", 5000, psi=0.3),)),
            "answers-drift",
            "PSI 0.30, and 0.10",
        ),
        (
            AlertFacts(devices=(device("one", battery_percent=20.0, battery_charging=False, battery_per_hour=-5.0),)),
            "battery-empties",
            "less than 6 hours: one",
        ),
        (AlertFacts(devices=(device("one", temperature_c=85.0),)), "device-hot", "80 °C"),
        (AlertFacts(devices=(device("one", storage_free_bytes=10),)), "storage-full", "left: one"),
        (AlertFacts(devices=(device("one", storage_wear_percent=90.0),)), "storage-worn", "80 % of their"),
        (AlertFacts(rollouts=(RolloutFacts("eu-west", "m", "m/2", "paused", "ana paused it"),)), "rollout-held", "ana"),
        (AlertFacts(expiries=(Expiry("targets", 40_000_000.0 + 9 * DAY_S, "sign"),)), "ends-soon", "ends in 9 days"),
        (AlertFacts(devices=(device("one", cloned="two copies"),)), "identity-cloned", "two voices: one"),
        (AlertFacts(refused={"state_refused": (12, "no signature")}), "messages-refused", "12 in the last ten"),
        (AlertFacts(devices=(device("one", trust_problem="an old root"),)), "trust-refused", "one"),
        (AlertFacts(broker_connected=False), "broker-gone", "no connection"),
    ],
)
def test_each_default_rule_finds_what_it_is_for_and_says_what_to_do(facts: AlertFacts, rule: str, words: str) -> None:
    now = 40_000_000.0
    facts = replace(facts, devices=tuple(replace(row, last_heard_s=now) for row in facts.devices))
    watch = Watch(*DEFAULTS)
    watch.look(facts, now)
    watch.look(facts, now + 600.0)
    watch.look(facts, now + 7200.0 - 6600.0)
    watch.look(
        replace(facts, devices=tuple(replace(row, last_heard_s=now + 3700.0) for row in facts.devices)), now + 3700
    )
    alert = watch.only()
    assert (alert.rule, alert.status) == (rule, "open")
    assert words in alert.text and alert.evidence.startswith("/") and alert.next_step.endswith((".", "sign"))


def test_a_battery_that_charges_or_holds_is_no_alert() -> None:
    rule = next(row for row in DEFAULTS if row.kind == "battery")
    for facts in (
        {"battery_percent": 5.0, "battery_charging": True, "battery_per_hour": -5.0},
        {"battery_percent": 50.0, "battery_per_hour": 0.0},
        {"battery_percent": 90.0, "battery_per_hour": -5.0},
        {"battery_percent": None},
    ):
        watch = Watch(replace(rule, for_s=0.0))
        assert watch.look(AlertFacts((device("one", **facts),)), 0.0) == []


def test_a_rule_that_was_taken_out_resolves_its_alerts() -> None:
    watch = Watch(replace(HEAT, for_s=0.0))
    watch.look(hot(99), 0.0)
    watch.rules = ()
    assert watch.look(hot(99), 1.0) == [("resolve", "heat")]


def test_rules_are_data() -> None:
    rules = {
        row.name: row
        for row in read_rules(
            [
                {"name": "device-hot", "limit": 70, "clear": 60},
                {"name": "region-p95", "enabled": False},
                {"name": "slow-in-asia", "kind": "latency", "limit": 0.2, "regions": ["ap-south"]},
            ]
        )
    }
    assert (rules["device-hot"].limit, rules["device-hot"].for_s) == (70.0, 300.0)
    assert "region-p95" not in rules and rules["slow-in-asia"].regions == ("ap-south",)
    slow = AlertFacts(groups=tuple(GroupFacts(region, "m", "m/1", "v", 500, 0.5) for region in ("eu-west", "ap-south")))
    watch = Watch(replace(rules["slow-in-asia"], for_s=0.0))
    watch.look(slow, 0.0)
    assert watch.only().region == "ap-south"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"limit": 3}, "each has a name"),
        ({"name": "mine"}, "is new and has no kind"),
        ({"name": "mine", "kind": "mood"}, "mine.kind is 'mood' and must be one of battery, broker"),
        ({"name": "device-hot", "limits": 3}, "limits is not known"),
        ({"name": "device-hot", "limit": 70, "clear": 90}, "at most its limit"),
        ({"name": "battery-empties", "limit": 6, "clear": 3}, "at least its limit"),
        ({"name": "device-hot", "for_s": -1}, "from 0 to a week"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_name(row: dict[str, object], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        read_rules([row])
