"""Real signals, which this process sends to itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from alphazero.shell.signals import on_signals

BOTH = (signal.SIGINT, signal.SIGTERM)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in BOTH]


@pytest.fixture(autouse=True)
def outside() -> Iterator[list[int]]:
    """The signals that reach the handlers of before, which a fault would otherwise let end the tests."""
    reached: list[int] = []
    before = [signal.signal(number, lambda number, _: reached.append(number)) for number in BOTH]
    yield reached
    for number, handler in zip(BOTH, before, strict=True):
        signal.signal(number, handler)


def test_each_signal_calls_once_and_nobody_else(outside: list[int]) -> None:
    calls: list[int] = []
    with on_signals(lambda: calls.append(1)):
        for done, number in enumerate((*BOTH, signal.SIGINT), start=1):
            os.kill(os.getpid(), number)
            assert len(calls) == done
    assert outside == []


def test_the_handlers_of_before_come_back_even_after_an_error(outside: list[int]) -> None:
    before = handlers()
    with on_signals(lambda: None):
        assert not set(handlers()) & set(before)
    assert handlers() == before
    with pytest.raises(KeyError), on_signals(lambda: None):
        raise KeyError
    assert handlers() == before
    signal.raise_signal(signal.SIGINT)
    assert outside == [signal.SIGINT]


def test_what_the_call_raises_reaches_the_work() -> None:
    def handle() -> None:
        raise TimeoutError("asked to stop")

    with pytest.raises(TimeoutError, match="asked to stop"), on_signals(handle):
        signal.raise_signal(signal.SIGTERM)


def test_nested_calls_give_way_to_the_inner() -> None:
    calls: list[str] = []
    with on_signals(lambda: calls.append("outer")):
        with on_signals(lambda: calls.append("inner")):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert calls == ["inner", "outer"]


def test_another_thread_works_on_and_leaves_the_handlers_alone() -> None:
    before, seen = handlers(), []

    def work() -> None:
        with on_signals(lambda: None):
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
