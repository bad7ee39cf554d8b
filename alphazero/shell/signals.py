"""Ctrl-C, SIGTERM and SIGHUP as calls, for work that ends in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_signals(handle: Callable[[], None]) -> Iterator[None]:
    """Calls `handle` on each Ctrl-C, SIGTERM or SIGHUP; after that one, what goes to the terminal goes nowhere.

    A SIGHUP that is ignored stays so (`nohup`). Does nothing outside the main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = [stream for stream in (0, 1, 2) if os.isatty(stream)]

    def handler(number: int, frame: object) -> None:
        if number == signal.SIGHUP:  # the terminal is gone, as when a connection breaks
            _leave(terminals)
        handle()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _leave(terminals: list[int]) -> None:
    """Has these streams lead nowhere: an error of reading or writing would end the work before it is saved."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in terminals:
        os.dup2(nowhere, stream)
    os.close(nowhere)
