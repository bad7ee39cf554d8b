from __future__ import annotations

import csv
import errno
import io
import math
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util import tensor_util

from alphazero.game.grid import read_grid
from alphazero.report.curves import curves_figure
from alphazero.report.metrics_table import chart_layout
from alphazero.report.monitor import Monitor
from alphazero.report.position_figures import board_figure, pixels, png, policy_heatmap
from alphazero.report.terminal import ProgressBars, iteration_report, pack
from alphazero.runs.files import RunError
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe

FULL_DEVICE = Path("/dev/full")  # answers every write with "no space left on device"
on_full_disk = pytest.mark.skipif(not FULL_DEVICE.exists(), reason="needs /dev/full")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

SCALARS = {
    "loss/total": 2.5,
    "loss/policy": 1.9,
    "loss/value": 0.6,
    "self_play/positions_per_second": 20_512.0,
    "self_play/draws": 0.04,
    "buffer/samples": 1_234_567.0,
    "time/iteration": 83.0,
}
STRENGTH = {
    "strength/minimax:5/points": 0.76,
    "strength/minimax:5/win": 0.7,
    "strength/minimax:5/draw": 0.12,
    "strength/minimax:5/loss": 0.18,
}


def plain(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=width)


def terminal(width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False, _environ={"TERM": "xterm"}
    )


def output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def monitor(folder: Path, *, first: int = 0, console: Console | None = None) -> Monitor:
    return Monitor(folder, iterations=100, first_iteration=first, console=console or plain())


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return accumulator


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------ files of a run


def test_scalars_reach_tensorboard_and_csv_at_their_iteration(tmp_path: Path) -> None:
    with monitor(tmp_path) as shown:
        shown.record(0, {"loss/total": 2.5})
        shown.record(1, {"loss/total": 2.25})
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("loss/total")] == [(0, 2.5), (1, 2.25)]
    assert table(tmp_path) == [{"iteration": "0", "loss/total": "2.5"}, {"iteration": "1", "loss/total": "2.25"}]


def test_new_tags_become_columns_and_missing_ones_stay_empty(tmp_path: Path) -> None:
    with monitor(tmp_path) as shown:
        shown.record(0, {"loss/total": 2.5})
        shown.record(1, {"loss/total": 2.0, "buffer/samples": 7})
        shown.record(2, {"buffer/samples": 9})
        shown.record(2, {"loss/total": 1.5})
    assert [list(row.values()) for row in table(tmp_path)] == [
        ["0", "2.5", ""],
        ["1", "2.0", "7.0"],
        ["2", "1.5", "9.0"],
    ]
    assert monitor(tmp_path, first=3).history == shown.history


def test_a_resumed_run_forgets_what_it_will_do_again(tmp_path: Path) -> None:
    with monitor(tmp_path) as shown:
        for iteration in range(5):
            shown.record(iteration, {"loss/total": float(iteration)})
    with monitor(tmp_path, first=3) as resumed:
        assert sorted(resumed.history) == [0, 1, 2]
        resumed.record(3, {"loss/total": 30.0})
    assert [row["loss/total"] for row in table(tmp_path)] == ["0.0", "1.0", "2.0", "30.0"]
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("loss/total")] == [(0, 0), (1, 1), (2, 2), (3, 30)]


def test_a_row_cut_by_a_crash_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("iteration,loss/total\n0,2.5\n1,2.2")
    assert monitor(tmp_path, first=9).history == {0: {"loss/total": 2.5}}
    assert (tmp_path / "metrics.csv").read_text() == "iteration,loss/total\n0,2.5\n"


@pytest.mark.parametrize("content", ["name,score\nme,3\n", "iteration,loss\n0,high\n", "iteration,a\n0,1,2\n", "\n"])
def test_a_foreign_csv_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(RunError, match=r"metrics\.csv does not hold a run's metrics .*move it away"):
        monitor(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == content


def test_the_log_has_the_time_and_follows_lines(tmp_path: Path) -> None:
    with monitor(tmp_path) as shown:
        shown.say("one [bold]\ntwo")
    first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  one \[bold\]", first)
    assert second == " " * first.index("one") + "two"


def test_curves_are_saved_at_each_evaluation_and_at_the_end(tmp_path: Path) -> None:
    curves = tmp_path / "curves.png"
    with monitor(tmp_path) as shown:
        shown.record(0, SCALARS)
        assert not curves.exists()
        shown.record(1, SCALARS | STRENGTH)
        assert curves.read_bytes().startswith(PNG_SIGNATURE)
        curves.unlink()
    assert curves.read_bytes().startswith(PNG_SIGNATURE)
    assert not list(tmp_path.glob(".*.unfinished"))


def test_figures_reach_tensorboard(tmp_path: Path) -> None:
    figure = Figure(figsize=(3, 2), dpi=100, facecolor="red")
    with monitor(tmp_path) as shown:
        shown.figure(4, "position/0", figure)
    (image,) = events(tmp_path).Images("position/0")
    assert (image.step, image.width, image.height) == (4, 300, 200)
    assert image.encoded_image_string.startswith(PNG_SIGNATURE)


def test_the_last_layout_knows_every_opponent_and_its_expressions_fit(tmp_path: Path) -> None:
    with monitor(tmp_path) as shown:
        shown.record(0, SCALARS)
        shown.record(1, SCALARS | STRENGTH)
    last = events(tmp_path).Tensors("custom_scalars__config__")[-1]
    layout = layout_pb2.Layout.FromString(tensor_util.make_ndarray(last.tensor_proto).item())
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    categories = [category.title for category in layout.category]
    assert categories == ["strength", "losses", "self-play", "buffer", "cluster", "time"]
    shown_tags = [tag for tag in STRENGTH if any(re.match(e, tag) for e in charts["games against minimax:5"])]
    assert shown_tags == [f"strength/minimax:5/{outcome}" for outcome in ("win", "draw", "loss")]
    assert {tag for tag in SCALARS if any(re.match(e, tag) for tags in charts.values() for e in tags)} == set(SCALARS)


def test_charts_take_an_opponents_name_literally() -> None:
    (expression, *_) = chart_layout(["agent(1.5)"])["strength"]["games against agent(1.5)"][1]
    assert re.match(expression, "strength/agent(1.5)/win")
    assert not re.match(expression, "strength/agent(1.5)/win_first")


# ------------------------------------------------------------------------------- full disks


def _say(shown: Monitor) -> None:
    shown.say("hello")


def _record(shown: Monitor) -> None:
    shown.record(1, {"loss/total": 1.0})


@on_full_disk
@pytest.mark.parametrize(
    ("name", "action"), [("log.txt", _say), ("metrics.csv", _record), ("tensorboard/events*", _record)]
)
def test_a_full_disk_is_one_error_that_names_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, action: Callable[[Monitor], None]
) -> None:
    hook = threading.excepthook

    def run() -> None:
        with monitor(tmp_path) as shown:
            shown.say("begin")
            shown.record(0, {"loss/total": 2.0})
            (file,) = tmp_path.glob(name)
            file.unlink()
            file.symlink_to(FULL_DEVICE)
            action(shown)

    with pytest.raises(OSError, match=re.escape(str(tmp_path / name.split("/", maxsplit=1)[0]))) as caught:
        run()
    assert caught.value.errno == errno.ENOSPC
    assert threading.excepthook is hook
    assert "Traceback" not in capfd.readouterr().err


# -------------------------------------------------------------------------------- the terminal


def test_plain_output_has_no_control_characters_and_whole_lines(tmp_path: Path) -> None:
    console = plain(width=40)
    with monitor(tmp_path, console=console) as shown:
        shown.say("a line of many words " * 5)
        shown.start(0, {"self-play": 100})
        shown.advance("self-play", 50)
        shown.report(0, SCALARS | STRENGTH)
    text = output(console)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert [line.split("  ")[0] or line.split()[0] for line in text.splitlines()][1:] == [
        "iteration 0",
        "self-play",
        "learning",
        "strength",
    ]
    assert "minimax:5 76 % (won 70, drawn 12, lost 18 %)" in text
    assert "2.5" in (tmp_path / "log.txt").read_text()


def test_a_terminal_gets_its_cursor_back_after_ctrl_c(tmp_path: Path) -> None:
    console = terminal()

    def run() -> None:
        with monitor(tmp_path, console=console) as shown:
            shown.start(0, {"self-play": 100, "learning": 10})
            shown.advance("self-play", 50)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert output(console).count("\x1b[?25l") == 1
    assert output(console).rindex("\x1b[?25h") > output(console).rindex("\x1b[?25l")


def test_progress_adds_up_over_threads_and_iterations(tmp_path: Path) -> None:
    with monitor(tmp_path, first=20, console=terminal()) as shown:
        bars = shown._bars
        assert bars is not None
        for iteration in (20, 21):
            shown.start(iteration, {"self-play": 4000, "learning": 10})
            threads = [
                threading.Thread(target=lambda: [shown.advance("self-play", 1) for _ in range(500)]) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            shown.advance("learning", 5)
        done = {task.description: (task.completed, task.total) for task in bars.tasks}
    assert done == {"run": (21.5, 100), "self-play": (2000, 4000), "learning": (5, 10)}


@pytest.mark.parametrize("width", [40, 60, 120])
def test_report_and_bars_fit_the_terminal(tmp_path: Path, width: int) -> None:
    console = terminal(width)
    with monitor(tmp_path, console=console) as shown:
        shown.start(0, {"self-play": 20_480, "learning": 100})
        shown.report(0, SCALARS)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output(console)).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= width


def test_what_is_not_finite_is_written_and_flagged(tmp_path: Path) -> None:
    scalars = SCALARS | {"loss/value": math.nan, "loss/gradient_norm": math.inf}
    with monitor(tmp_path) as shown:
        shown.record(0, scalars)
    assert iteration_report(0, 100, scalars)[-1] == ("not finite", ["loss/value nan", "loss/gradient_norm inf"])
    assert math.isnan(events(tmp_path).Scalars("loss/value")[0].value)
    assert table(tmp_path)[0]["loss/value"] == "nan"
    assert math.isnan(monitor(tmp_path, first=1).history[0]["loss/value"])


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


# --------------------------------------------------------------------------------- the figures


def test_boards_of_the_games_are_grids() -> None:
    game = ConnectFour()
    state = game.step(game.initial(1), torch.tensor([3])).state
    grid = read_grid(game.render(state))
    assert grid is not None
    assert grid.cells == ["......."] * 5 + ["...x..."]
    assert grid.column_names == list("1234567")
    assert grid.row_names == [""] * 6
    small = read_grid(TicTacToe().render(TicTacToe().initial(1)))
    assert small == (["..."] * 3, ["3", "2", "1"], ["a", "b", "c"])


@pytest.mark.parametrize("text", ["", "heaps: 3 4 5", "x . .\n. o", "x . .\n? . .", "mine: 5\ntheirs: 3"])
def test_other_text_is_no_grid(text: str) -> None:
    assert read_grid(text) is None


def _texts(figure: Figure) -> set[str]:
    png(figure)  # draws the figure, which also fills in the ticks
    return {text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts, *axes.get_yticklabels()]}


def test_a_board_figure_says_whose_value_it_is_and_shows_legal_moves() -> None:
    game = TicTacToe()
    state = game.step(game.initial(1), torch.tensor([4])).state
    texts = _texts(board_figure(game, state, torch.full((9,), 0.1), -0.314))
    assert {"value for o, to move: −0.31", "x", "a1", " 10 %"} <= texts
    assert "b2" not in texts


class Described(TicTacToe):
    """Renders as text that is no grid."""

    def render(self, state: object) -> str:
        return "a position\nin words"


def test_a_board_figure_falls_back_on_text() -> None:
    game = Described()
    texts = _texts(board_figure(game, game.initial(1), np.full(9, 1 / 9), 0.5))
    assert {"a position\nin words", "value for the first player, to move: +0.50"} <= texts


def test_a_board_figure_of_a_finished_game() -> None:
    game = TicTacToe()
    state = game.initial(1)
    for action in (0, 1, 2, 4, 3, 5, 7, 6, 8):
        state = game.step(state, torch.tensor([action])).state
    assert "no legal move" in _texts(board_figure(game, state, torch.zeros(9), 0.0))


def test_a_heatmap_has_a_panel_a_position_with_a_row_an_iteration() -> None:
    policies = {iteration: np.random.default_rng(iteration).dirichlet(np.ones(7), 5) for iteration in (0, 20, 40)}
    figure = policy_heatmap(ConnectFour(), policies, titles=list("abcde"))
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title()]
    assert [image.get_array().shape for image in images] == [(3, 7)] * 5
    np.testing.assert_array_equal(images[4].get_array()[1], policies[20][4])
    assert pixels(figure).shape[2] == 3


@pytest.mark.parametrize(
    ("history", "titles"),
    [
        ({}, []),
        ({0: {"loss/total": math.nan}}, []),
        ({0: {"loss/total": 2.0}}, ["Loss on the replay buffer"]),
        ({0: {}, 1: SCALARS}, ["Loss on the replay buffer", "Replay buffer"]),
        (
            {0: SCALARS, 1: SCALARS | STRENGTH},
            ["Points won against fixed opponents", "Loss on the replay buffer", "Replay buffer"],
        ),
        ({0: {"strength/random/points": 12.0}}, ["Strength"]),
    ],
)
def test_curves_show_what_there_is(history: dict[int, dict[str, float]], titles: list[str]) -> None:
    figure = curves_figure(history)
    assert png(figure, dpi=40).startswith(PNG_SIGNATURE)
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles


def test_time_is_in_cores_if_every_iteration_knows_it() -> None:
    history = {i: {"loss/total": 1.0, "time/core_seconds": 60.0 * i} for i in range(1, 4)}
    assert curves_figure(history).axes[0].get_xlabel() == "core-minutes of training"
    assert list(curves_figure(history).axes[0].lines[0].get_xdata()) == [1, 2, 3]
    assert curves_figure(history | {4: {"loss/total": 1.0}}).axes[0].get_xlabel() == "iteration"


def test_bars_are_replaced_while_another_thread_redraws_them() -> None:
    """Each side has to take its locks in the other's order; if one does not, this hangs soon."""
    bars = ProgressBars(Console(file=io.StringIO(), force_terminal=True, width=80))
    bars.start_run(0, 1_000)
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
    """In asynchronous runs another thread reports what is done, at any moment."""
    bars = ProgressBars(Console(file=io.StringIO(), force_terminal=True))
    bars.start_run(0, 3)
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
