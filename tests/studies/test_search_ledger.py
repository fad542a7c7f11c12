import pytest
from optuna.distributions import FloatDistribution

from sskd.studies.optuna_studies import open_study, optuna_storage
from sskd.studies.search_ledger import SearchLedger

SPACE = {"contrast.temperature": FloatDistribution(0.05, 0.8)}


def tau(value: float) -> dict[str, float]:
    return {"contrast.temperature": value}


@pytest.fixture
def storage(home):
    with optuna_storage(home) as storage:
        yield storage


def open_ledger(storage) -> SearchLedger:
    return SearchLedger(storage, "sweep/mine@tiny-toycity", "plan", SPACE, objectives=1)


def test_a_trial_that_was_queued_and_never_taken_gets_nobody_elses_result(storage):
    ledger = open_ledger(storage)
    ledger.fail(ledger.begin(0, tau(0.1), "f0"), "no memory")
    # A launch that was killed after it had queued the trial of the next place.
    attributes = {"place": 1, "params": tau(0.2), "fingerprint": "f1"}
    open_study(storage, "sweep/mine@tiny-toycity", "plan").enqueue_trial(
        tau(0.2), user_attrs=attributes
    )
    ledger = open_ledger(storage)
    ledger.complete(ledger.begin(0, tau(0.1), "f0"), (0.3,))
    ledger.complete(ledger.begin(1, tau(0.2), "f1"), (0.4,))
    found = ledger.entries()
    assert [(e.place, e.params, e.values) for e in found.values()] == [
        (0, tau(0.1), (0.3,)),
        (1, tau(0.2), (0.4,)),
    ]
    trials = open_study(storage, "sweep/mine@tiny-toycity", "plan").get_trials()
    for entry in found.values():
        assert trials[entry.trial].params == entry.params


def test_a_trial_left_running_is_gone_on_with(storage):
    number = open_ledger(storage).begin(0, tau(0.1), "f0")
    ledger = open_ledger(storage)
    assert ledger.entries()[0].state == "open"
    assert ledger.begin(0, tau(0.1), "f0") == number
    ledger.fail(number, "no memory")
    assert ledger.begin(0, tau(0.1), "f0") != number
