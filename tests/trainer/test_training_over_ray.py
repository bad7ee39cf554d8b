"""Training over Ray is the same as in one process, even if workers are killed. All with the real Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alphazero.config import ClusterConfig
from alphazero.parallel import ray_setup
from alphazero.trainer.run import Run
from tests.trainer.ray_runs import train
from tests.training_runs import SMALL, assert_same

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_setup, "available_cores", lambda: 4)


def assert_same_samples(one: Run, other: Run) -> None:
    mine, theirs = one.replay.arrays(), other.replay.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert (array == theirs[name]).all(), name


def test_samples_and_weights_do_not_depend_on_the_workers_nor_on_ten_deaths(tmp_path: Path) -> None:
    config = replace(SMALL, iterations=10, evaluation=replace(SMALL.evaluation, every=0))
    here, in_process = train(config, tmp_path / "here", 0)
    three, played = train(config, tmp_path / "three", 3, kills=10)
    assert_same(here.learner.tensors(), three.learner.tensors())
    assert_same_samples(here, three)
    # As many samples of every seed, none twice and none missing.
    assert sorted(in_process) == sorted(played)
    assert [place for place, _ in sorted(played)] == [(stream, segment) for stream in range(3) for segment in range(10)]
    log = (tmp_path / "three" / "log.txt").read_text()
    assert log.count("Lost worker") == 10
    assert log.count("again: segment") > 3  # while they had something to lose


def test_an_asynchronous_run_plays_every_segment_once_even_if_workers_die(tmp_path: Path) -> None:
    unbounded = ClusterConfig(mode="asynchronous", max_staleness=1e9, max_backlog=1e9)
    config = replace(SMALL, iterations=10, cluster=unbounded, evaluation=replace(SMALL.evaluation, every=0))
    run, played = train(config, tmp_path / "run", 2, kills=3)
    places = [place for place, _ in played]
    assert len(places) == len(set(places)) == 30
    for stream in range(3):  # each one's segments follow one another, from the first on
        segments = sorted(segment for of, segment in places if of == stream)
        assert segments == list(range(len(segments)))
    assert run.replay.seen == sum(size for _, size in played)
    steps = config.learner.replay_ratio * run.replay.seen / config.learner.batch_size
    assert abs(run.learner.steps - steps) <= 1  # nothing of it was left out, and all learned
    assert all(torch.isfinite(tensor).all() for tensor in run.learner.tensors().values())
