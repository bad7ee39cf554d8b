"""Real signals, which this process sends to itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from alphazero.shell.signals import on_signals

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in ALL]


@pytest.fixture(autouse=True)
def outside() -> Iterator[list[int]]:
    """The signals that reach the handlers of before, which a fault would otherwise let end the tests."""
    reached: list[int] = []
    before = [signal.signal(number, lambda number, _: reached.append(number)) for number in ALL]
    yield reached
    for number, handler in zip(ALL, before, strict=True):
        signal.signal(number, handler)


def test_each_signal_calls_once_and_nobody_else(outside: list[int]) -> None:
    calls: list[int] = []
    with on_signals(lambda: calls.append(1)):
        for done, number in enumerate((*ALL, signal.SIGINT), start=1):
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


def test_nohup_stays_in_force(outside: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with on_signals(pytest.fail):
        os.kill(os.getpid(), signal.SIGHUP)
    assert outside == []


WORK = """
import sys, time
from pathlib import Path
from alphazero.shell.signals import on_signals
asked = []
with on_signals(lambda: asked.append(1)):
    print("ready", flush=True)
    while not asked:
        time.sleep(0.01)
    for _ in range(100):
        print("what nobody reads", flush=True)
        print("errors too", file=sys.stderr, flush=True)
    Path(sys.argv[1]).write_text("saved")
"""


def test_work_ends_in_order_when_its_terminal_is_closed(tmp_path: Path) -> None:
    terminal = pexpect.spawn(sys.executable, ["-c", WORK, str(tmp_path / "outcome")], timeout=60)
    terminal.expect("ready")
    terminal.ptyproc.fileobj.close()  # as when a connection breaks: the system sends the signal
    terminal.ptyproc.wait()
    assert (tmp_path / "outcome").read_text() == "saved"


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
