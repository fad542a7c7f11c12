"""A first signal waits for ``obey``; a second one does not."""

import signal

import pytest

from sskd.engine.errors import RunStopped
from sskd.engine.stop_requests import StopRequests


@pytest.fixture(autouse=True)
def outer():
    """What signals did before: noted here."""
    got = []
    before = {
        number: signal.signal(number, lambda number, _: got.append(number))
        for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    yield got
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_waits_until_it_is_obeyed(outer):
    with StopRequests() as stop:
        assert not stop.asked
        signal.raise_signal(signal.SIGUSR1)
        assert stop.asked
        assert outer == []
        with pytest.raises(KeyboardInterrupt):
            stop.obey()
        assert outer == [signal.SIGUSR1]


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGUSR1])
def test_a_request_that_comes_twice_is_one(outer, again):
    with StopRequests() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(again)
        assert stop.asked
        assert outer == []
    assert outer == [signal.SIGTERM]


def test_who_insists_is_obeyed_at_once(outer, monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with StopRequests():
        signal.raise_signal(signal.SIGTERM)
        now += 0.9
        signal.raise_signal(signal.SIGTERM)
        assert outer == []
        now += 0.2  # since the first, however many there were between
        signal.raise_signal(signal.SIGUSR1)
        assert outer == [signal.SIGUSR1]


def test_a_signal_in_the_last_step_is_not_lost(outer):
    with StopRequests():
        signal.raise_signal(signal.SIGTERM)
    assert outer == [signal.SIGTERM]


def test_a_signal_in_the_step_of_an_error_is_not_lost(outer):
    def work() -> None:
        with StopRequests():
            signal.raise_signal(signal.SIGTERM)
            raise RunStopped("the loss is not finite")

    with pytest.raises(RunStopped):
        work()
    assert outer == [signal.SIGTERM]


def test_what_is_ignored_stays_ignored(outer):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with StopRequests() as stop:
        signal.raise_signal(signal.SIGUSR1)
        assert not stop.asked


def test_handlers_are_put_back(outer):
    before = signal.getsignal(signal.SIGTERM)
    with StopRequests():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
