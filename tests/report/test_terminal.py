"""Numbers, lines and bars as the terminal shows them."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from alphazero.report.terminal import ProgressBars, iteration_report, pace, pack
from tests.small_metrics import SCALARS


def test_a_report_says_what_is_there() -> None:
    assert iteration_report(12, 100, {}) == [("iteration 12", ["13 of 100"])]
    assert iteration_report(12, 100, SCALARS) == [
        ("iteration 12", ["13 of 100", "1 min 23 s"]),
        ("self-play", ["20.5 k positions/s", "draws 4 %"]),
        ("learning", ["loss 2.5", "policy 1.9", "value 0.6", "1.23 M samples"]),
    ]
    assert iteration_report(0, 1, {"strength/random/points": 3.25})[1] == ("strength", ["random 3.25"])


def test_packing_fills_lines() -> None:
    assert pack(["aa", "bb", "cccc"], 7) == ["aa · bb", "cccc"]
    assert pack(["aa", "bb", "cccc"], None) == ["aa · bb · cccc"]
    assert pack(["too long", "b"], 3) == ["too long", "b"]


def test_bars_are_replaced_while_another_thread_redraws_them() -> None:
    """Both sides must take their locks in the same order; if one does not, this soon hangs."""
    bars = ProgressBars(Console(file=io.StringIO(), force_terminal=True, width=80), 0, 1_000)
    bars.start()
    done = threading.Event()

    def redraw() -> None:
        while not done.is_set():
            bars.refresh()
            time.sleep(0.0005)  # locks are not fair: without a pause the other side may wait for ever

    def replace() -> None:
        for iteration in range(400):
            bars.start_iteration(iteration, {"self-play": 10, "learning": 10})
            bars.advance_part("learning", 5)

    redrawing, replacing = (threading.Thread(target=work, daemon=True) for work in (redraw, replace))
    redrawing.start()
    replacing.start()
    replacing.join(timeout=60)
    stuck = replacing.is_alive()
    done.set()
    assert not stuck
    redrawing.join()
    bars.stop()


def test_a_part_may_advance_while_the_bars_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """In asynchronous runs another thread reports progress at any moment."""
    bars = ProgressBars(Console(file=io.StringIO(), force_terminal=True), 0, 3)
    bars.start()
    bars.start_iteration(0, {"self-play": 2})
    for name in ("add_task", "remove_task"):
        original = getattr(bars, name)

        def meanwhile(*arguments: Any, original: Callable[..., Any] = original, **named: Any) -> Any:
            bars.advance_part("self-play", 1)
            done = original(*arguments, **named)
            bars.advance_part("self-play", 1)
            return done

        monkeypatch.setattr(bars, name, meanwhile)
    bars.start_iteration(1, {"self-play": 2})
    bars.stop()
    assert [task.description for task in bars.tasks] == ["run", "self-play"]


def test_times_are_shown_short() -> None:
    assert [pace(seconds) for seconds in (math.nan, 0.00002, 0.00234, 0.05678, 2.5)] == [
        "–", "<0.1", "2.3", "57", "2500",
    ]  # fmt: skip
