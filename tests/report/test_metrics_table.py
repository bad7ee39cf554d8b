"""Every metric has a row, and every view is made of the rows."""

from __future__ import annotations

import re

import pytest

from alphazero.report.metrics_table import ALL_METRICS, chart_layout, meaning_of, said
from alphazero.runs.metrics import read_history
from tests.training_runs import copy_of_whole


def test_charts_take_an_opponents_name_literally() -> None:
    (expression, *_) = chart_layout(["strength/agent(1.5)/win"])["strength"]["games against agent(1.5)"][1]
    assert re.match(expression, "strength/agent(1.5)/win")
    assert not re.match(expression, "strength/agent(1.5)/win_first")


def test_a_game_for_one_has_no_charts_of_games_won() -> None:
    layout = chart_layout(["strength/points", "strength/alone/points", "network/alone/points", "loss/total"])
    assert {category: list(charts) for category, charts in layout.items()} == {
        "strength": ["points, mean over opponents", "points against each opponent", "points of the network alone"],
        "losses": ["loss"],
    }


def test_every_row_says_what_its_scalar_is() -> None:
    assert all(metric.meaning for metric in ALL_METRICS)
    assert meaning_of("strength/minimax:5/draw_first").endswith("that the agent drew as the one who moves first")
    points, low, high = (meaning_of(f"strength/random/points{bound}") for bound in ("", "_low", "_high"))
    assert (low, high) == (
        f"{points}; the lower end of its 95 % interval",
        f"{points}; the higher end of its 95 % interval",
    )
    assert meaning_of("strength/alone/points") == "the agent's mean reward a game"
    assert meaning_of("cluster/worker/17_per_second") == "moves a second of this worker"
    assert meaning_of("no/such") == ""


def test_every_tag_that_a_run_records_has_its_row(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = copy_of_whole(tmp_path_factory, "run")
    recorded = {tag for scalars in read_history(folder / "metrics.csv").values() for tag in scalars}
    rows = [metric.tag.replace("{opponent}", "[^/]+") for metric in ALL_METRICS]
    assert len(set(rows)) == len(rows)
    without = {tag for tag in recorded if not any(re.fullmatch(f"{row}(_low|_high)?", tag) for row in rows)}
    # Numbers of games won and lost by the network alone are in the strength's figure, not in charts.
    assert {tag for tag in without if not tag.startswith("network/")} <= {"learner/steps"}


def test_a_line_is_said_only_if_there_is_something_to_say() -> None:
    assert said("cluster", {"cluster/left_out_stale": 0.0, "cluster/restarts": 0.0}) == ["0 restarts"]
    (line,) = said("cluster", {"cluster/left_out_behind": 12.0})
    assert line.startswith("left out 12 samples: learning cannot follow")
