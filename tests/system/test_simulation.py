"""Simulated devices against a real Mosquitto and a real server: small ones, of what `edgefleet sim` runs large."""

from edgefleet_sim.restarts import restarts
from edgefleet_sim.retained import read_back
from edgefleet_sim.run import run
from edgefleet_sim.scenarios import named


def quiet(words: str) -> None:
    pass


def test_fifty_devices_prove_a_good_model_and_a_bad_one_stays_within_the_first_stage():
    outcome = run(named("bad-model"), 50, quiet, probation_s=10.0)
    assert outcome.held, outcome.checks
    assert outcome.figures["exposed_percent"] < 60


def test_a_restart_of_server_and_broker_in_a_stage_leads_to_the_same_end():
    plain, cut = restarts(12, quiet, phases=("stage 1 in probation",), cuts=("both killed",))
    assert cut.end == plain.end
    assert plain.status == "complete"


def test_a_thousand_retained_states_are_read_back_by_a_server_that_knew_nothing():
    assert read_back(1000, quiet)["missing"] == 0
