"""A clock of CPU time that stands still unless a test moves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest


class CpuClock(threading.local):
    """Each thread's CPU seconds: a look at it takes 20 microseconds, and everything else what the test adds."""

    now = 0.0

    def thread_time(self) -> float:
        self.now += 20e-6
        return self.now

    def taking(self, seconds: float, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, which takes so long by this clock."""

        def slow(*arguments: Any) -> Any:
            self.now += seconds
            return method(*arguments)

        return slow


@pytest.fixture
def cpu_clock(monkeypatch: pytest.MonkeyPatch) -> CpuClock:
    """Stands for `time.thread_time` in all modules."""
    clock = CpuClock()
    monkeypatch.setattr(time, "thread_time", clock.thread_time)
    return clock
