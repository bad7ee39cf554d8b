"""A benchmark is shown by bars on a terminal, by lines elsewhere, and by files beside its run."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from scipy import stats

from alphazero.arena.benchmark import CurvePoint, PositionPoint
from alphazero.arena.plan import plan
from alphazero.arena.players import SearchBudget
from alphazero.arena.solved import ErrorRate, PositionResult
from alphazero.report.benchmark import Steps, curve_figure, write_beside_run
from alphazero.runs.files import RunError
from tests.small_benchmark import FAST, Listener, load_quickly, played, small_run
from tests.tensorboard_events import events as events_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphazero.arena.plan.load_agent", load_quickly)


# --------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_on_terminals_only(terminal: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100, color_system=None, legacy_windows=False)
    with Steps(console) as watcher:
        watcher.begin("reading", 3, "positions", steps=0)
        watcher.end("reading", "")
        advance = watcher.begin("one against mcts:100", 10, "games", steps=2)
        advance(4)
        if terminal:
            watcher.refresh()
        watcher.end("one against mcts:100", "so and so")
    shown = output.getvalue()
    if terminal:
        assert "one against mcts:100" in shown
        assert "4/10" in shown
        assert "\x1b" in shown
    else:
        assert shown == "one against mcts:100: so and so\n"  # and not the 💯 that rich makes of :100:


# ----------------------------------------------------------------------------------------- writing


def test_the_runs_folder_tells_of_the_benchmark(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    benchmark = played(copy, against=["random"], curve=1, games=16, curve_budget=SearchBudget(2))
    write_beside_run(benchmark)
    record = json.loads((copy / "benchmark.json").read_text())
    assert record == benchmark.record()
    assert record["complete"] is True
    assert record["iteration"] == 4
    assert [(point["iteration"], point["role"], point["player"]) for point in record["curve"]] == [
        (2, "agent", "agent:2 of iteration 2"),
        (2, "network", "network of iteration 2"),
        (4, "agent", "agent:2"),
        (4, "network", "network"),
    ]
    assert (copy / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert not list(copy.glob(".*.unfinished"))
    events = events_of(copy)
    assert "benchmark/curve" in events.Tags()["images"]
    matches, curve = record["matches"], record["curve"]

    def scalars(tag: str) -> list[tuple[int, float]]:
        return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]

    assert [(4, matches[0]["points"])] == scalars("benchmark/random/agent_points")
    assert [(4, matches[1]["points"])] == scalars("benchmark/random/network_points")
    assert [(4, matches[0]["interval"][0])] == scalars("benchmark/random/agent_points_low")
    assert [(2, curve[0]["points"]), (4, curve[2]["points"])] == scalars("benchmark_curve/random/agent_points")
    assert [(2, curve[1]["points"]), (4, curve[3]["points"])] == scalars("benchmark_curve/random/network_points")


def test_nothing_is_written_beside_other_agents_or_before_anything_is_played(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    before = sorted(copy.rglob("*"))
    for path in (copy / "agent.onnx", copy / "checkpoints" / "000002"):
        write_beside_run(played(path, against=["random"], curve=4))
    write_beside_run(plan(copy, Listener(), against=["random"], games=8, budget=FAST, seed=1))
    assert sorted(copy.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_named(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "benchmark.json").mkdir()
    benchmark = played(copy, against=["random"])
    with pytest.raises(RunError, match=r"cannot write .*benchmark\.json"):
        write_beside_run(benchmark)


# ------------------------------------------------------------------------------------------ figure


def test_the_curve_shows_each_opponent_and_what_training_saw() -> None:
    points = [
        CurvePoint(iteration, role, opponent, points, (points - 0.1, min(1.0, points + 0.1)))
        for role, opponent, iteration, points in (
            ("agent", "random", 10, 0.75),
            ("agent", "random", 40, 1.0),
            ("network", "random", 10, 0.5),
            ("network", "random", 40, 0.25),
            ("agent", "runs/a/very/long/way/to/another/run", 40, 0.125),
        )
    ]
    history = {
        20: {"strength/random/points": 0.625, "network/random/points": 0.375},
        30: {"strength/random/points": math.nan, "strength/minimax:5/points": 0.5},
    }
    figure = curve_figure(points, history, title="run")  # type: ignore[arg-type]
    agent, network = figure.axes
    drawn = [
        {
            str(line.get_label()): list(zip(line.get_xdata(), line.get_ydata(), strict=True))  # type: ignore[arg-type]
            for line in reversed(axes.get_lines())
        }
        for axes in (agent, network)
    ]
    assert drawn[0]["random"] == [(10, 0.75), (40, 1.0)]
    assert drawn[0]["…ng/way/to/another/run"] == [(40, 0.125)]
    assert drawn[0]["_training"] == [(20, 0.625)]
    assert drawn[1]["random"] == [(10, 0.5), (40, 0.25)]
    assert drawn[1]["_training"] == [(20, 0.375)]
    assert agent.get_ylim() == (-0.02, 1.03)


def test_the_curve_shows_mistakes_in_solved_positions() -> None:
    answers = [
        PositionPoint(iteration, role, "some/solved.csv", PositionResult({"all": ErrorRate(200, wrong)}, 0, None))
        for role, iteration, wrong in (("agent", 10, 20), ("network", 10, 50), ("agent", 40, 8))
    ]
    (axes,) = curve_figure([], {}, answers, title="run").axes  # type: ignore[arg-type]
    drawn = {
        str(line.get_label()): list(zip(line.get_xdata(), line.get_ydata(), strict=True))  # type: ignore[arg-type]
        for line in axes.get_lines()
    }
    assert drawn == {"agent": [(10, 10.0), (40, 4.0)], "network": [(10, 25.0)]}
    assert axes.get_ylim()[0] == 0
    interval = stats.binomtest(8, 200).proportion_ci(method="wilson")
    bars = [list(segment[:, 1]) for lines in axes.collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    assert [100 * interval.low, 100 * interval.high] in [pytest.approx(bar, rel=1e-5) for bar in bars]
