"""Coming back to a broker: a fleet that lost it together is spread out, and nobody asks again and again in step."""

import random

from edgefleet_agent.link.reconnect import FIRST_LIMIT_S, LAST_LIMIT_S, LEAST_S, STEADY_S, delay_s, failures_after


def test_a_delay_is_anything_up_to_a_limit_that_doubles() -> None:
    for failures in range(40):
        limit = min(LAST_LIMIT_S, FIRST_LIMIT_S * 2**failures)
        assert delay_s(failures, 0.5) == max(LEAST_S, limit / 2)
        assert LEAST_S <= delay_s(failures, 0.0) < delay_s(failures, 0.999) < limit


def test_s18_ten_thousand_devices_that_lose_the_broker_together_come_back_spread_out_and_without_an_echo() -> None:
    dice, tries = random.Random(18), [0] * 300
    for _ in range(10_000):
        at, failures = 0.0, 0
        while (at := at + delay_s(failures, dice.random())) < 300:
            tries[int(at)] += 1
            failures = failures_after(failures, None)
    assert tries[0] <= 1.5 * 10_000, "the first second: everybody once, and some of them twice"
    later = tries[60:]
    average = sum(later) / len(later)
    assert average < 10_000 / 25, "each asks about once in half a minute"
    assert max(later) < 1.35 * average and min(later) > 0.65 * average, "no peak comes back"


def test_a_broker_that_drops_everybody_at_once_is_asked_ever_more_seldom_and_a_good_connection_begins_anew() -> None:
    failures = 0
    for _ in range(6):
        failures = failures_after(failures, 0.2)
    assert delay_s(failures, 0.99) > 30
    assert failures_after(failures, STEADY_S) == 0
