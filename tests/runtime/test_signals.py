"""The first signal is a wish that a patient run grants in its own time; the second is granted at once."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from segzoo.errors import Interrupted
from segzoo.runtime.signals import StopRequest, stop_on_signals

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
each_signal = pytest.mark.parametrize("signum", CODES)


@each_signal
def test_impatient_run_stops_at_once(signum: signal.Signals) -> None:
    """Before there is a state to save the signal raises where the run is, with the signal's name and exit code."""
    with pytest.raises(Interrupted, match=f"stopped by {signum.name}") as caught, stop_on_signals(StopRequest()):
        signal.raise_signal(signum)

    assert caught.value.exit_code == CODES[signum]
    assert caught.value.signal_name == signum.name


@each_signal
def test_patient_run_is_only_asked(signum: signal.Signals) -> None:
    """The first signal raises nothing; the request turns true and knows the signal."""
    with stop_on_signals(StopRequest()) as request:
        request.patient = True
        assert not request
        signal.raise_signal(signum)
        assert request
        assert request.signum == signum


@each_signal
def test_second_signal_raises(signum: signal.Signals) -> None:
    """Who asks twice does not wait for the step; the exit code is that of the second signal."""
    with stop_on_signals(StopRequest()) as request:
        request.patient = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signum)

    assert caught.value.exit_code == CODES[signum]


@each_signal
def test_a_signal_that_other_code_caught_is_not_lost(signum: signal.Signals) -> None:
    """Who asks later is told; without a signal asking does nothing."""
    with stop_on_signals(StopRequest()) as request:
        request.raise_if_asked()
        with contextlib.suppress(Exception):
            signal.raise_signal(signum)
        with pytest.raises(Interrupted, match=f"stopped by {signum.name}") as caught:
            request.raise_if_asked()

    assert caught.value.exit_code == CODES[signum]


@each_signal
@pytest.mark.parametrize("patient", [False, True])
def test_a_signal_that_other_code_made_an_error_of_is_told(signum: signal.Signals, patient: bool) -> None:
    """What an interrupted import raises is the signal's doing; what a step raises later is an error of its own."""

    def be_broken_off() -> None:
        with stop_on_signals(StopRequest()) as request:
            request.patient = patient
            with contextlib.suppress(Interrupted):
                signal.raise_signal(signum)
            raise ImportError("partially initialised")

    with pytest.raises(ImportError if patient else Interrupted):
        be_broken_off()


def test_a_launcher_may_ask_twice() -> None:
    """Where signals are passed on the second one is the same wish, as long as the run is patient."""
    with stop_on_signals(StopRequest()) as request:
        request.patient = request.repeated = True
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert request.signum == signal.SIGTERM
        request.patient = False
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("failing", [False, True])
def test_handlers_are_put_back(failing: bool) -> None:
    """After the block, however it ends, signals do what they did before."""
    before = [signal.getsignal(signum) for signum in CODES]

    try:
        with stop_on_signals(StopRequest()):
            assert [signal.getsignal(signum) for signum in CODES] != before
            if failing:
                raise ValueError
    except ValueError:
        pass

    assert [signal.getsignal(signum) for signum in CODES] == before


def test_other_threads_change_nothing() -> None:
    """Outside the main thread, where no handler can be set, the block works and nobody is asked to stop."""
    before = [signal.getsignal(signum) for signum in CODES]
    seen: list[object] = []

    def work() -> None:
        with stop_on_signals(StopRequest()) as request:
            seen.extend([bool(request), *(signal.getsignal(signum) for signum in CODES)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [False, *before]
