"""The first request waits for the step, the second Ctrl-C does not, and nobody else's handlers are touched."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from semiseg.stopping import NAMES, Stopped, StopRequest


@pytest.mark.parametrize("number", [getattr(signal, name) for name in NAMES if hasattr(signal, name)])
def test_a_request_is_heard_and_told_of_once(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err.count("Stopping after this step, with a checkpoint") == 1
    assert signal.getsignal(number) == before
    assert stop.stopped().status == 128 + number and isinstance(stop.stopped(), KeyboardInterrupt)


def test_a_second_ctrl_c_stops_at_once() -> None:
    with StopRequest() as stop, pytest.raises(KeyboardInterrupt) as caught:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert stop() and not isinstance(caught.value, Stopped)


def test_what_is_ignored_or_anothers_is_left_alone() -> None:
    def own(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, own)
    try:
        with StopRequest() as stop:
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN and signal.getsignal(signal.SIGTERM) is own
            signal.raise_signal(signal.SIGINT)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_another_thread_hears_nothing_and_does_no_harm() -> None:
    entered = []

    def enter() -> None:
        with StopRequest() as stop:
            entered.append(stop())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes that inherit handlers")
def test_a_worker_that_has_just_been_forked_leaves_it_to_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C reaches it too, before it can have handlers of its own."""
    with StopRequest() as stop:
        child = os.fork()
        if child == 0:
            try:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.raise_signal(number)
            finally:
                os._exit(7 if stop() else 0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0 and not stop()
    assert capfd.readouterr().err == ""
