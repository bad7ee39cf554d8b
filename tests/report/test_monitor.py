"""The monitor's output and files, also on full disks."""

from __future__ import annotations

import csv
import errno
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from alphazero.report import curves
from alphazero.report import monitor as monitoring
from alphazero.report.monitor import Monitor
from alphazero.report.terminal import LEGEND, iteration_report
from alphazero.runs.files import RunError
from tests.small_metrics import SCALARS, STRENGTH, output, plain, terminal
from tests.tensorboard_events import events, scalars

FULL_DEVICE = Path("/dev/full")  # answers every write with "no space left on device"
on_full_disk = pytest.mark.skipif(not FULL_DEVICE.exists(), reason="needs /dev/full")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def monitor(folder: Path, *, first: int = 0, console: Console | None = None) -> Monitor:
    return Monitor(folder, iterations=100, first_iteration=first, console=console or plain())


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_scalars_reach_tensorboard_and_csv_at_their_iteration(tmp_path: Path) -> None:
    with monitor(tmp_path) as shown:
        shown.record(0, {"loss/total": 2.5})
        shown.record(1, {"loss/total": 2.25})
    assert scalars(tmp_path, "loss/total") == [(0, 2.5), (1, 2.25)]
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
    # TensorBoard reads its files in the order of their names, which begin with the second that each was made in.
    made = int(time.time())
    while int(time.time()) == made:
        time.sleep(0.01)
    with monitor(tmp_path, first=3) as resumed:
        assert sorted(resumed.history) == [0, 1, 2]
        resumed.record(3, {"loss/total": 30.0})
    assert [row["loss/total"] for row in table(tmp_path)] == ["0.0", "1.0", "2.0", "30.0"]
    assert scalars(tmp_path, "loss/total") == [(0, 0), (1, 1), (2, 2), (3, 30)]


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
    drawn = tmp_path / "curves.png"
    with monitor(tmp_path) as shown:
        shown.record(0, SCALARS)
        assert not drawn.exists()
        shown.record(1, SCALARS | STRENGTH)
        assert drawn.read_bytes().startswith(PNG_SIGNATURE)
        drawn.unlink()
    assert drawn.read_bytes().startswith(PNG_SIGNATURE)
    assert not list(tmp_path.glob(".*.unfinished"))


def test_curves_of_a_long_run_are_drawn_from_some_of_its_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def figure(history: Mapping[int, object], units: object) -> Figure:
        drawn.append(len(history))
        return Figure()

    monkeypatch.setattr(curves, "curves_figure", figure)
    monkeypatch.setattr(monitoring, "POINTS", 10)
    with monitor(tmp_path) as shown:
        for iteration in range(40):
            shown.record(iteration, SCALARS)
    assert drawn == [10]


def test_figures_reach_tensorboard(tmp_path: Path) -> None:
    figure = Figure(figsize=(3, 2), dpi=100, facecolor="red")
    with monitor(tmp_path) as shown:
        shown.figure(4, "positions/1", figure)
    (image,) = events(tmp_path).Images("positions/1")
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
    assert categories == ["strength", "losses", "self-play", "buffer", "time"]
    shown_tags = [tag for tag in STRENGTH if any(re.match(e, tag) for e in charts["games against minimax:5"])]
    assert shown_tags == [f"strength/minimax:5/{outcome}" for outcome in ("win", "draw", "loss")]
    assert {tag for tag in SCALARS if any(re.match(e, tag) for tags in charts.values() for e in tags)} == set(SCALARS)


def test_scalars_say_what_they_are(tmp_path: Path) -> None:
    with monitor(tmp_path) as shown:
        shown.record(0, {"loss/total": 2.5, "strength/random/points": 0.75, "strength/minimax:2/points": 0.25})
        shown.record(1, {"loss/total": 2.25})
    read = events(tmp_path)
    described = read.SummaryMetadata("strength/random/points").summary_description
    assert described == "the agent's share of the points against random; a draw is half a win"
    assert read.SummaryMetadata("loss/total").summary_description
    assert scalars(tmp_path, "strength/points") == [(0, 0.5)]
    assert table(tmp_path)[0]["strength/points"] == "0.5"


def test_the_configuration_is_there_as_text_and_as_hyper_parameters_with_the_points_as_result(tmp_path: Path) -> None:
    toml = (
        'game = "g:G"\n[search]\nsimulations = 32\nrescale_q = true\n[evaluation]\nopponents = ["random", "mcts:9"]\n'
        "[network.options]\nheads = 4\n"
    )
    (tmp_path / "config.toml").write_text(toml)
    with monitor(tmp_path) as shown:
        shown.record(0, STRENGTH)
    read = events(tmp_path)
    (text,) = read.Tensors("configuration/text_summary")
    assert toml in tensor_util.make_ndarray(text.tensor_proto).item().decode()

    def content(tag: str) -> bytes:
        return bytes(read.SummaryMetadata(tag).plugin_data.content)

    started = metadata.parse_session_start_info_plugin_data(content(metadata.SESSION_START_INFO_TAG))
    assert {name: value.string_value or value.number_value for name, value in started.hparams.items()} == {
        "game": "g:G",
        "search.simulations": 32,
        "search.rescale_q": 1,
        "network.options.heads": 4,
        "evaluation.opponents": "random mcts:9",
    }
    experiment = metadata.parse_experiment_plugin_data(content(metadata.EXPERIMENT_TAG))
    results = [metric.name.tag for metric in experiment.metric_infos]
    assert results == ["strength/points", "strength/random/points", "strength/mcts:9/points"]


def test_a_run_of_an_older_version_goes_on_in_its_own_folder_of_events(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    with SummaryWriter(tmp_path / "tensorboard") as older:
        older.add_scalar("loss/total", 3.0, 0)
    with monitor(tmp_path, first=1) as shown:
        shown.record(1, {"loss/total": 2.0})
    assert not list(tmp_path.glob("events*"))
    assert scalars(tmp_path / "tensorboard", "loss/total") == [(0, 3.0), (1, 2.0)]


def _say(shown: Monitor) -> None:
    shown.say("hello")


def _record(shown: Monitor) -> None:
    shown.record(1, {"loss/total": 1.0})


@on_full_disk
@pytest.mark.parametrize(("name", "action"), [("log.txt", _say), ("metrics.csv", _record), ("events*", _record)])
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

    with pytest.raises(OSError, match=re.escape(str(tmp_path / name.removesuffix("events*")))) as caught:
        run()
    assert caught.value.errno == errno.ENOSPC
    assert threading.excepthook is hook
    assert "Traceback" not in capfd.readouterr().err


def test_plain_output_has_no_control_characters_and_whole_lines(tmp_path: Path) -> None:
    console = plain(width=40)
    with monitor(tmp_path, console=console) as shown:
        shown.say("a line of many words " * 5)
        shown.start(0, {"self-play": 100})
        shown.advance("self-play", 50)
        shown.report(0, SCALARS | STRENGTH)
    text = output(console)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert text.splitlines()[1:4] == LEGEND.splitlines()
    assert [line.split("  ")[0] or line.split()[0] for line in text.splitlines()][4:] == [
        "iteration 1 of 100",
        "self-play",
        "learning",
        "strength",
    ]
    assert "minimax:5 76 % (70/12/18)" in text
    assert "policy loss 1.9" in (tmp_path / "log.txt").read_text()


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


def test_a_match_has_a_bar_over_iterations_beside_the_runs_share(tmp_path: Path) -> None:
    with monitor(tmp_path, first=20, console=terminal()) as shown:
        bars = shown._bars
        shown.start(20, {"self-play": 10})
        shown.start_match("against random", 40)
        shown.start_match("against minimax:5", 50)
        threads = [threading.Thread(target=shown.advance, args=("against random", 5)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shown.start(21, {"self-play": 10})
        shown.advance("self-play", 5)
        shown.advance("against random", 30)  # more than was announced
        done = {task.description: (task.completed, task.total) for task in bars.tasks}
        assert done == {
            "run": (21.5, 100),
            "self-play": (5, 10),
            "against random": (50, 50),
            "against minimax:5": (0, 50),
        }
        (table,) = bars.get_renderables()
        order = [str(cell) for cell in table.columns[0].cells]
        assert order == ["self-play", "against random", "against minimax:5", "run"]
        shown.end_match("against random")
        shown.advance("against random", 1)  # a late message
        shown.end_match("against random")
        assert {task.description for task in bars.tasks} == {"run", "self-play", "against minimax:5"}


@pytest.mark.parametrize("width", [40, 60, 120])
def test_report_and_bars_fit_the_terminal(tmp_path: Path, width: int) -> None:
    console = terminal(width)
    with monitor(tmp_path, console=console) as shown:
        shown.start(0, {"self-play": 20_480, "learning": 100})
        shown.report(0, SCALARS)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output(console)).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= width


def test_numbers_that_are_not_finite_are_written_and_flagged(tmp_path: Path) -> None:
    bad = SCALARS | {"loss/value": math.nan, "loss/gradient_norm": math.inf}
    with monitor(tmp_path) as shown:
        shown.record(0, bad)
    assert iteration_report(0, 100, bad)[-1] == ("not finite", ["loss/value nan", "loss/gradient_norm inf"])
    assert math.isnan(scalars(tmp_path, "loss/value")[0][1])
    assert table(tmp_path)[0]["loss/value"] == "nan"
    assert math.isnan(monitor(tmp_path, first=1).history[0]["loss/value"])
