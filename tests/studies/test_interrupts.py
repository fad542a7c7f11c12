import os
import signal
import threading
from collections.abc import Callable

import pytest

from sskd.engine.errors import RunStopped
from sskd.engine.stop_requests import StopRequests
from sskd.studies.interrupts import Interrupts, Terminated


def send(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_ends_work_at_once():
    done = []

    def work() -> None:
        with Interrupts() as interrupts, interrupts.allowed():
            done.append("begun")
            send()
            done.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["begun"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_end_is_told_from_ctrl_c(number):
    before = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    try:
        with pytest.raises(Terminated), Interrupts() as interrupts, interrupts.allowed():
            send(number)
    finally:
        signal.signal(number, before)


def before_the_work(done: list[str]) -> None:
    with Interrupts() as interrupts:
        send()
        send()
        done.append("closed")
        with interrupts.allowed():
            done.append("never")


def in_the_middle_of_it(done: list[str]) -> None:
    with Interrupts() as interrupts, interrupts.allowed():
        with interrupts.held():
            send()
            done.append("closed")
        done.append("never")


def after_it(done: list[str]) -> None:
    with Interrupts() as interrupts:
        try:
            with interrupts.allowed():
                send()
        finally:
            send()  # from a wrapper, which got it too
            send(signal.SIGTERM)
            done.append("closed")


@pytest.mark.parametrize("work", [before_the_work, in_the_middle_of_it, after_it])
def test_the_books_are_closed_first(work):
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        work(done)
    assert done == ["closed"]


def while_the_books_are_open(done: list[str], wait: Callable[[], None]) -> None:
    with Interrupts():
        send()
        done.append("asked")
        wait()
        send()
        done.append("never")


def while_they_are_closed(done: list[str], wait: Callable[[], None]) -> None:
    with Interrupts() as interrupts:
        try:
            with interrupts.allowed():
                send()
        finally:
            done.append("asked")
            wait()
            send()
            done.append("never")


@pytest.mark.parametrize("work", [while_the_books_are_open, while_they_are_closed])
def test_who_insists_a_second_later_is_obeyed(work, monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    def wait() -> None:
        nonlocal now
        now += 1.1

    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        work(done, wait)
    assert done == ["asked"]


def test_a_request_in_the_step_of_an_error_ends_the_launch():
    """It is no failed cell after which the next one begins."""

    def work() -> None:
        with Interrupts() as interrupts, interrupts.allowed(), StopRequests():
            send(signal.SIGTERM)
            raise RunStopped("the loss is not finite")

    with pytest.raises(Terminated) as caught:
        work()
    assert isinstance(caught.value.__context__, RunStopped)


def test_a_signal_that_found_no_work_is_not_lost():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        send()


def test_handlers_are_put_back_and_nohup_is_respected():
    before = signal.getsignal(signal.SIGTERM)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGTERM) is not before
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is before
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, hangup)


def test_other_threads_have_no_signals():
    seen = []

    def work() -> None:
        with Interrupts() as interrupts, interrupts.allowed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
