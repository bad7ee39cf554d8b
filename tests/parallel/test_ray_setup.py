"""A configuration gets the workers and ranks it asks for, or an error that names the missing resources."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from alphazero.config import Config
from alphazero.learner import Learner
from alphazero.parallel import ray_setup
from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.ray_setup import ray_executor
from games.tic_tac_toe import TicTacToe
from tests.parallel.executor_tasks import PATIENCE, CountTask, make_nothing
from tests.training_runs import SMALL

pytestmark = pytest.mark.cluster

RANKS = replace(SMALL.cluster, learner_ranks=2)


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_setup, "available_cores", lambda: 3)


def learner(config: Config) -> Learner:
    return Learner(TicTacToe(), config.learner, config.network, seed=1)


executor_of = partial(ray_executor, make_worker=make_nothing, fix="")


def test_without_ranks_the_learner_learns_by_itself(tmp_path: Path) -> None:
    said, config = list[str](), replace(SMALL, workers=2, self_play=replace(SMALL.self_play, streams=1))
    one = learner(config)
    with executor_of(config, learner=one, log=tmp_path / "log", say=said.append) as (executor, learn), executor:
        assert learn == one.learn
        assert executor.size == 2
        assert executor.submit(CountTask(3, tmp_path / "book")).result(PATIENCE)[0] == 9
    assert said[0] == "2 workers of 1 CPU on this machine, synchronous"
    assert said[1].startswith("Only 1 of them can play at once, a stream each: set self_play.streams to 2 or more")


def test_as_many_workers_as_the_ranks_leave_cores_for(tmp_path: Path) -> None:
    said, config = list[str](), replace(SMALL, workers="auto", cluster=RANKS)
    one = learner(config)
    with executor_of(config, learner=one, log=tmp_path / "log", say=said.append) as (executor, learn), executor:
        assert executor.size == 1
        assert learn != one.learn
    assert said == ["1 worker of 1 CPU on this machine, synchronous"]


def test_workers_and_ranks_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    config = replace(SMALL, workers=2, cluster=RANKS)
    complaint = r"^2 workers of 1 CPU and 2 ranks of the learner of 1 CPU were asked for, and the cluster has 3 CPUs"
    with (
        pytest.raises(ExecutorError, match=complaint),
        executor_of(config, learner=learner(config), log=tmp_path / "log", say=pytest.fail),
    ):
        pass
