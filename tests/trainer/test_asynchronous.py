"""Training out of step: the replay ratio holds, nothing is played twice or grows, and what is left out is counted."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from alphazero.config import ClusterConfig, Config
from alphazero.learner import LearningError
from alphazero.runs.checkpoint import checkpoints, create_run, restore
from alphazero.trainer.asynchronous import AsynchronousTraining, mean_losses
from alphazero.trainer.tasks import PlayTurn
from games.tic_tac_toe import TicTacToe
from tests.trainer.test_synchronous import SMALL, StoppingMonitor

UNBOUNDED = ClusterConfig(mode="asynchronous", most_behind=1e9, most_stale=1e9)
CONFIG = replace(SMALL, threads=2, cluster=UNBOUNDED, evaluation=replace(SMALL.evaluation, opponents=()))


class Watched(AsynchronousTraining):
    """Remembers the turns that were taken in, in their order, and how many were under way at most."""

    most_under_way = 0

    def iterate(self) -> None:
        self.taken: list[tuple[int, int]] = []
        submit = self.executor.submit

        def watched(task: Any, *shared: Any, **settings: Any) -> Any:
            future = submit(task, *shared, **settings)
            if isinstance(task, PlayTurn):
                self.most_under_way = max(self.most_under_way, self._under_way)
                future.add_done_callback(lambda done: self.taken.append((task.stream, task.turn)))
            return future

        self.executor.submit = watched  # type: ignore[method-assign]
        super().iterate()


def train(
    config: Config, folder: Path, *, resume: bool = False, stop_after: int = 10**9, learn_for: float = 0.0
) -> tuple[Watched, Mapping[int, Mapping[str, float]]]:
    """A run, in which a call of `learn` takes so many seconds more; returns it and its scalars by iteration."""
    training = Watched(TicTacToe(), config, folder)
    learn = training.learn

    def slowly(*arguments: Any, **settings: Any) -> dict[str, float]:
        time.sleep(learn_for)
        return learn(*arguments, **settings)

    training.learn = slowly  # type: ignore[method-assign]
    if resume:
        training.progress = restore(
            folder, training.game, training.learner, training.replay, training.streams, say=lambda text: None
        )
    else:
        create_run(folder, config)
    console, first = Console(file=io.StringIO()), training.progress.iteration
    with StoppingMonitor(folder, iterations=config.iterations, first_iteration=first, console=console) as monitor:
        monitor.stop_after, monitor.training = stop_after, training
        training.run(monitor)
    return training, monitor.history


def steps_for(training: Watched, samples: float) -> float:
    return training.config.learner.replay_ratio * samples / training.config.learner.batch


def test_every_turn_is_played_once_and_learned_from_at_the_replay_ratio(tmp_path: Path) -> None:
    five = replace(CONFIG, self_play=replace(CONFIG.self_play, streams=5))
    training, history = train(five, tmp_path / "run")
    assert len(training.taken) == len(set(training.taken)) == 5 * CONFIG.iterations
    for stream in range(5):
        turns = [turn for of, turn in training.taken if of == stream]
        assert turns == list(range(len(turns)))  # one after the other
    assert training.most_under_way == training.executor.size + 1 == 3
    assert abs(training.learner.steps - steps_for(training, training.replay.seen)) <= 1
    assert all(scalars["cluster/left_out_behind"] == 0 for scalars in history.values())
    # Learning takes its turn after each of self-play's, so no network is old when a turn begins.
    assert all(0 < scalars["cluster/staleness"] < 2 for scalars in history.values())
    assert sum(scalars["self_play/games"] for scalars in history.values()) > 0
    assert [path.name for path in checkpoints(tmp_path / "run")][-1] == f"{CONFIG.iterations:06d}"


def test_self_play_pauses_if_what_comes_in_is_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_in, most = Watched._take_in_the_next, 0

    def slowly(training: Watched) -> None:
        nonlocal most
        time.sleep(0.2)
        most = max(most, training._under_way + training._arrivals.qsize())
        take_in(training)

    monkeypatch.setattr(Watched, "_take_in_the_next", slowly)
    many = replace(CONFIG, iterations=2, threads=1, self_play=replace(CONFIG.self_play, streams=8))
    training, _ = train(many, tmp_path / "run")
    assert training.executor.size == 1
    assert most == 3  # turns under way or waiting, twice as many as there are workers and one: then the next waits
    assert len(training.taken) == 16


def test_if_learning_cannot_follow_samples_are_left_out_and_the_ratio_holds_for_the_others(tmp_path: Path) -> None:
    config = replace(CONFIG, iterations=12, cluster=replace(UNBOUNDED, most_behind=1.0))
    training, history = train(config, tmp_path / "run", learn_for=0.5)
    left_out = sum(scalars["cluster/left_out_behind"] for scalars in history.values())
    assert left_out > 0
    played = left_out + training.replay.seen
    assert len(training.taken) == 36  # self-play did not wait
    assert training.replay.seen < played
    assert abs(training.learner.steps - steps_for(training, training.replay.seen)) <= 1
    # What is owed stays below the bound and a turn more.
    most = max(scalars["cluster/steps_owed"] for scalars in history.values())
    assert most <= steps_for(training, (1 + 1) * 3 * 16 * 6 + 16 * 9)


def test_samples_of_old_networks_are_left_out(tmp_path: Path) -> None:
    config = replace(CONFIG, iterations=6, cluster=replace(UNBOUNDED, most_stale=0.5))
    _, history = train(config, tmp_path / "run")
    ages = [scalars["cluster/staleness"] for scalars in history.values()]
    assert max(ages) > 0.5
    assert sum(scalars["cluster/left_out_stale"] for scalars in history.values()) > 0


def test_a_stopped_run_goes_on_with_its_turns_and_with_what_it_owes(tmp_path: Path) -> None:
    first, _ = train(CONFIG, tmp_path / "run", stop_after=1)
    assert first.progress.iteration == 2
    seen, owed = first.replay.seen, first.owed
    assert abs(first.learner.steps + owed - steps_for(first, seen)) < 1e-6
    second, history = train(CONFIG, tmp_path / "run", resume=True)
    assert sorted(history) == list(range(CONFIG.iterations))
    assert abs(second.learner.steps - steps_for(second, second.replay.seen)) <= 1
    # Turns that were under way when it stopped are played again, those that were taken in are not.
    taken = first.taken[:6] + second.taken
    assert len(taken) == 3 * CONFIG.iterations
    for stream in range(3):
        assert [turn for of, turn in taken if of == stream] == list(range(sum(of == stream for of, _ in taken)))


def test_matches_are_recorded_for_the_iteration_they_began_in(tmp_path: Path) -> None:
    _, history = train(replace(CONFIG, iterations=5, evaluation=SMALL.evaluation), tmp_path / "run")
    assert [i for i, scalars in history.items() if "strength/random/points" in scalars] == [2, 4]


def test_learning_that_fails_ends_it(tmp_path: Path) -> None:
    reckless = replace(
        CONFIG, learner=replace(CONFIG.learner, optimizer="sgd", learning_rate=1e30, clip=1e30, warmup=0.0)
    )
    with pytest.raises(LearningError, match="the loss is"):
        train(reckless, tmp_path / "run")


def test_means_of_several_calls_are_weighted_by_their_steps() -> None:
    parts = [
        {"loss/total": 1.0, "learner/steps": 1.0, "learner/seconds": 2.0},
        {"loss/total": 4.0, "learner/steps": 3.0, "learner/seconds": 5.0},
    ]
    assert mean_losses(parts) == {"loss/total": 13 / 4, "learner/steps": 4.0, "learner/seconds": 7.0}
    assert mean_losses([]) == {}
