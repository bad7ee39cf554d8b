"""Numbers, lines and bars as the terminal shows them."""

from __future__ import annotations

import io
import math
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from alphazero.report.monitor import Monitor
from alphazero.report.terminal import LEGEND, ProgressBars, iteration_report, pace, pack
from tests.small_metrics import SCALARS, output, plain, terminal


def test_a_report_says_what_is_there() -> None:
    assert iteration_report(12, 100, {}) == [("iteration 13 of 100", [])]
    assert iteration_report(12, 100, SCALARS, 5000.5) == [
        ("iteration 13 of 100", ["83 s", "1:23:21 left"]),
        ("self-play", ["20.5 k moves/s", "draws 4 %"]),
        ("learning", ["policy loss 1.9", "value 0.6", "1.23 M samples"]),
    ]
    assert iteration_report(0, 1, {"strength/alone/points": 3.25})[1] == ("strength", ["reward 3.25 a game"])


def test_a_one_shot_game_and_a_density_are_called_what_they_are() -> None:
    scalars = {"self_play/game_length": 1.0, "self_play/return": -0.5, "loss/policy": -9.18}
    assert iteration_report(0, 1, scalars)[1:] == [
        ("self-play", ["1 move a game", "reward -0.5 a game"]),
        ("learning", ["policy loss -9.18 (a log density)"]),
    ]


def test_a_report_takes_four_lines_of_80_columns(tmp_path: Path) -> None:
    shares = {"time/inference": 0.21, "time/tree": 0.64, "time/learning": 0.15}
    games = {"self_play/game_length": 36.2, "self_play/first_player_wins": 0.53, "self_play/draws": 0.21}
    losses = {"loss/total": 3.25, "loss/policy": 1.66, "loss/target_entropy": 0.734, "loss/value": 1.02}
    matches = {
        f"strength/{opponent}/{name}": share
        for opponent in ("random", "minimax:5")
        for name, share in {"points": 0.76, "win": 0.7, "draw": 0.12, "loss": 0.18}.items()
    }
    console = terminal(80)
    with Monitor(tmp_path, iterations=400, first_iteration=0, console=console, clock=lambda: 0.0) as shown:
        shown.plan(400, 5000.5)
        for iteration in (118, 119):
            shown.report(iteration, SCALARS | shares | games | losses | matches)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output(console)).splitlines()]
    lines = [line for line in lines if line and "━" not in line]  # without the bars
    legend, reports = lines[:3], lines[3:]
    assert "\n".join(legend) == LEGEND
    assert reports[:4] == [
        "iteration 119 of 400  83 s · 1:23:21 left · network 21, tree 64, learning 15 %",
        "  self-play  20.5 k moves/s · 36.2 moves a game · first wins 53, draws 21 %",
        "  learning   policy loss 1.66 · at best 0.734 · value 1.02 · 1.23 M samples",
        "  strength   random 76 % (70/12/18) · minimax:5 76 % (70/12/18)",
    ]
    assert len(reports) == 8


def test_every_iteration_says_the_time_left_of_the_plan(tmp_path: Path) -> None:
    console, now = plain(), [1000.0]
    with Monitor(tmp_path, iterations=25, first_iteration=10, console=console, clock=lambda: now[0]) as shown:
        shown.report(10, {})  # nobody knows
        shown.plan(25, 840.0)
        shown.report(10, {})
        now[0] += 255
        shown.report(11, {})
        shown.plan(30, 480.0)
        now[0] += 0.5
        shown.report(11, {})  # of matches that took longer
        now[0] += 500
        shown.report(12, {})
    expected = [
        "iteration 11 of 25",
        "iteration 11 of 25  0:14:00 left",
        "iteration 12 of 25  0:09:45 left",
        "iteration 12 of 30  0:08:00 left",
        "iteration 13 of 30",
    ]
    assert [line.rstrip() for line in output(console).splitlines()[3:]] == expected
    log = [line.split("  ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()[3:]]
    assert [line.rstrip(": ") for line in log] == [line.replace("  ", ": ") for line in expected]


def test_the_run_s_bar_shows_the_time_left_of_the_plan(tmp_path: Path) -> None:
    console = terminal(80)
    with Monitor(tmp_path, iterations=25, first_iteration=0, console=console, clock=lambda: 7.0) as shown:
        shown.plan(40, 1000.0)
        shown.start(10, {})
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output(console)).replace("\r", "\n").splitlines()
    assert re.fullmatch(
        r"run +[━╸╺]+ +10 of 40 +0:16:40 left", [line for line in lines if "10 of 40" in line][-1].strip()
    )


def test_packing_fills_lines() -> None:
    assert pack(["aa", "bb", "cccc"], 7) == ["aa · bb", "cccc"]
    assert pack(["aa", "bb", "cccc"], None) == ["aa · bb · cccc"]
    assert pack(["too long", "b"], 3) == ["too long", "b"]
    assert pack([], 3) == [""]


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
