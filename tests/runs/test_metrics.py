"""Histories are read as they were written; other files are named and left alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from alphazero.config import ReplayConfig
from alphazero.replay import Replay
from alphazero.runs.files import RunError
from alphazero.runs.metrics import MetricsFile, buffer_scalars, read_history
from games.tic_tac_toe import TicTacToe
from tests.random_samples import samples


def test_a_buffer_without_samples_has_no_mean_age() -> None:
    replay = Replay(TicTacToe(), ReplayConfig())
    assert buffer_scalars(replay, 3) == {}
    replay.extend(samples(4).at(slice(0)))  # no game ended
    assert "buffer/staleness" not in buffer_scalars(replay, 3)
    replay.extend(samples(4))  # of games that ended in iteration 0
    assert buffer_scalars(replay, 3)["buffer/staleness"] == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("iteration,loss\n-1,2\n", "'-1' is no iteration"),
        ("iteration,loss\n" + "9" * 5000 + ",2\n", "is no iteration"),
        ("iteration,loss\n1,1e39\n", "'1e39' is too large for a measure"),
        ("iteration,loss\n1," + "9x" * 5000 + "\n", "9x…' is no number"),
        ("x" * 5000 + ",loss\n1,2\n", "x…' instead of 'iteration'"),
        ("iteration,loss,loss\n1,2,3\n", "several columns of one name"),
        ("iteration,loss\n1,\0\n", "does not hold a run's metrics"),
    ],
)
def test_numbers_that_no_run_writes_are_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(RunError, match=said) as caught:
        read_history(tmp_path / "metrics.csv")
    assert len(str(caught.value)) < 400


def test_a_pipe_is_no_history(tmp_path: Path) -> None:
    """To read it would be to wait for ever."""
    os.mkfifo(tmp_path / "metrics.csv")
    with pytest.raises(RunError, match=r"metrics\.csv is no file.*; move it away"):
        read_history(tmp_path / "metrics.csv")


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_history(path) == {}
    path.write_text("iteration,loss/total,buffer/samples\n0,,5\n1,2.5,\n2,nan,7\n3,2.2")
    history = read_history(path)
    assert history[0] == {"buffer/samples": 5.0}
    assert history[1] == {"loss/total": 2.5}
    assert np.isnan(history[2]["loss/total"])
    assert 3 not in history  # a crash cut it
    assert path.read_text().endswith("3,2.2")  # and nobody repaired it


@pytest.mark.parametrize("content", ["name,score\nme,3\n", "iteration,loss\n0,high\n", "iteration,a\n0,1,2\n", "\n"])
def test_a_foreign_csv_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(RunError, match=r"metrics\.csv does not hold a run's metrics"):
        read_history(tmp_path / "metrics.csv")


def test_a_long_history_is_thinned_evenly_with_all_matches_and_the_last_iteration(tmp_path: Path) -> None:
    rows = [f"{i},{i}.5,{'0.25' if i % 97 == 0 else ''}\n" for i in range(5_000)]
    (tmp_path / "metrics.csv").write_text("iteration,loss/total,strength/random/points\n" + "".join(rows))
    metrics = MetricsFile(tmp_path / "metrics.csv", 5_000)
    thin = metrics.thinned(1_000)
    matches = set(range(0, 5_000, 97))
    assert matches | {4_999} <= set(thin)
    evenly = sorted(set(thin) - matches)
    assert 800 < len(evenly) <= 1_000
    assert np.diff(evenly).max() <= 12  # six apart, unless there were matches
    assert all(thin[i] == metrics.history[i] for i in (0, 97, 4_999))
    assert metrics.thinned(5_000) == metrics.history == read_history(tmp_path / "metrics.csv")
