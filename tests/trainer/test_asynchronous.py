"""Asynchronous training: the replay ratio holds, no segment is played twice, and left-out samples are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from alphazero.config import ClusterConfig, Config
from alphazero.learner import LearningError
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.metrics import read_history
from alphazero.trainer import asynchronous
from alphazero.trainer.asynchronous import AsynchronousLoop, mean_losses
from alphazero.trainer.run import Control, Run
from alphazero.trainer.session import Session
from alphazero.trainer.tasks import PlaySegment, Worker
from games.tic_tac_toe import TicTacToe
from tests.training_runs import SMALL, LocalExecutor, NotingObserver, open_small, run_without_session, train_session

UNBOUNDED = ClusterConfig(mode="asynchronous", max_backlog=1e9, max_staleness=1e9)
CONFIG = replace(SMALL, threads=2, cluster=UNBOUNDED, evaluation=replace(SMALL.evaluation, opponents=()))

History = Mapping[int, Mapping[str, float]]


@dataclass
class Seen:
    """The segments that an executor has ended, in their order, and the most that were under way at once."""

    taken: list[tuple[int, int]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    def watch(self, session: Session) -> None:
        submit = session.run.executor.submit

        def watched(task: Any, *shared: Any, **settings: Any) -> Any:
            if not isinstance(task, PlaySegment):
                return submit(task, *shared, **settings)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            future = submit(task, *shared, **settings)
            future.add_done_callback(lambda done: self.ended(task))
            return future

        session.run.executor.submit = watched  # type: ignore[method-assign]

    def ended(self, task: PlaySegment) -> None:
        self.under_way -= 1
        self.taken.append((task.stream, task.segment))


def train(config: Config, folder: Path, *, resume: bool = False, stop_after: int = 10**9) -> tuple[Run, History, Seen]:
    seen = Seen()
    session, _ = train_session(config, folder, resume=resume, stop_after=stop_after, prepare=seen.watch)
    return session.run, read_history(folder / "metrics.csv"), seen


class HeldFuture(Future[Any]):
    """A future whose work is done when the test says so, or when something waits for it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self.work = work

    def complete(self) -> None:
        self.set_result(self.work())

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.complete()
        return super().result()


class HeldExecutor(LocalExecutor):
    """An executor that does nothing by itself: `segments` and `learning` wait for the test to complete them."""

    def __init__(self, worker: Worker, size: int) -> None:
        self.worker, self.size = worker, size
        self.segments: list[HeldFuture] = []
        self.learning: list[HeldFuture] = []

    def submit(self, task: Any, *shared: Any, count: Callable[[int], None] = lambda done: None) -> HeldFuture:
        if isinstance(task, PlaySegment):
            self.segments.append(HeldFuture(lambda: task.run(self.worker, count, *shared)))
            return self.segments[-1]
        self.learning.append(HeldFuture(task))
        return self.learning[-1]


class Script(Control):
    """Lets the test act whenever the loop is about to take in a segment."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act

    def check(self, done: int = 0) -> None:
        if done == 0:
            self.act()


def train_by_hand(
    config: Config, folder: Path, act: Callable[[HeldExecutor], None], *, size: int
) -> tuple[Run, History]:
    """Trains with an executor whose futures `act` completes."""
    with open_small(config, folder) as session:
        executor = HeldExecutor(Worker(TicTacToe(), config, session.evaluators.exported), size)
        run = replace(session.run, executor=executor, control=Script(lambda: act(executor)))
        Session(run, folder, session.evaluators, session.monitor, None, session.lock).train()
    return run, read_history(folder / "metrics.csv")


def steps_for(run: Run, samples: float) -> float:
    return run.config.learner.replay_ratio * samples / run.config.learner.batch_size


def test_the_loop_needs_neither_screen_nor_arena_nor_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = run_without_session(CONFIG)
    observer = NotingObserver(alone)
    capfd.readouterr()
    with alone.executor:
        asynchronous.train(alone, observer)
    assert observer.calls == [
        call
        for number in range(CONFIG.iterations)
        for call in (("matches_due", number), ("iteration_over", number), ("save", number + 1))
    ]
    assert alone.learner.steps > 0
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_every_segment_is_played_once_and_learned_from_at_the_replay_ratio(tmp_path: Path) -> None:
    five = replace(CONFIG, self_play=replace(CONFIG.self_play, streams=5))
    run, history, seen = train(five, tmp_path / "run")
    assert len(seen.taken) == len(set(seen.taken)) == 5 * CONFIG.iterations
    for stream in range(5):
        segments = [segment for of, segment in seen.taken if of == stream]
        assert segments == list(range(len(segments)))  # one after the other
    assert seen.most_under_way == run.executor.size + 1 == 3
    assert abs(run.learner.steps - steps_for(run, run.replay.seen)) <= 1
    assert all(scalars["cluster/left_out_behind"] == 0 for scalars in history.values())
    # Learning follows each segment, so no weights are old when a segment begins.
    ages = [scalars["cluster/staleness"] for scalars in history.values()]
    assert min(ages) >= 0
    assert 0 < max(ages) < 2
    assert sum(scalars["self_play/games"] for scalars in history.values()) > 0
    assert [path.name for path in checkpoints(tmp_path / "run")][-1] == f"{CONFIG.iterations:06d}"


def test_self_play_pauses_if_its_segments_are_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[AsynchronousLoop] = []
    most, played = 0, 0

    class Kept(AsynchronousLoop):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            loops.append(self)

    def complete_all(executor: HeldExecutor) -> None:
        """All segments under way end before the loop takes in a single one."""
        nonlocal most, played
        while executor.segments:
            executor.segments.pop(0).complete()
            played += 1
            segments = loops[0].segments
            most = max(most, segments.under_way + segments.arrivals.qsize())

    monkeypatch.setattr(asynchronous, "AsynchronousLoop", Kept)
    many = replace(CONFIG, iterations=2, self_play=replace(CONFIG.self_play, streams=8))
    train_by_hand(many, tmp_path / "run", complete_all, size=1)
    assert most == 3  # segments under way or waiting, twice as many as there are workers and one: then the next waits
    assert played == 16


def test_if_learning_cannot_follow_samples_are_left_out_and_the_ratio_holds_for_the_others(tmp_path: Path) -> None:
    config = replace(CONFIG, iterations=12, cluster=replace(UNBOUNDED, max_backlog=1.0))
    taken = 0

    def complete_a_segment(executor: HeldExecutor) -> None:
        """Learning ends only where an iteration waits for it."""
        nonlocal taken
        if executor.segments:
            executor.segments.pop(0).complete()
            taken += 1

    run, history = train_by_hand(config, tmp_path / "run", complete_a_segment, size=2)
    left_out = sum(scalars["cluster/left_out_behind"] for scalars in history.values())
    assert left_out > 0
    played = left_out + run.replay.seen
    assert taken == 36  # self-play did not wait
    assert run.replay.seen < played
    assert abs(run.learner.steps - steps_for(run, run.replay.seen)) <= 1
    # The steps owed stay below the bound and a segment more.
    most = max(scalars["cluster/steps_owed"] for scalars in history.values())
    assert most <= steps_for(run, (1 + 1) * 3 * 16 * 6 + 16 * 9)


def test_samples_of_old_networks_are_left_out(tmp_path: Path) -> None:
    """Even where learning has hardly begun when samples come: how old they are depends on the machine's pace."""
    config = replace(CONFIG, iterations=6, cluster=replace(UNBOUNDED, max_staleness=0.1))
    _, history, _ = train(config, tmp_path / "run")
    ages = [scalars["cluster/staleness"] for scalars in history.values()]
    assert max(ages) > 0.1
    assert sum(scalars["cluster/left_out_stale"] for scalars in history.values()) > 0


def test_weights_are_not_old_before_there_are_newer_ones(tmp_path: Path) -> None:
    """Otherwise a run that has fallen behind would leave out all samples, learn nothing, and never hand out weights."""
    config = replace(CONFIG, iterations=5, cluster=replace(UNBOUNDED, max_staleness=0.5))
    config = replace(config, learner=replace(config.learner, replay_ratio=1e-9))
    run, history, _ = train(config, tmp_path / "run")
    assert run.learner.steps == 0
    assert all(scalars["cluster/left_out_stale"] == 0 for scalars in history.values())
    assert run.replay.seen > 0


def test_a_stopped_run_goes_on_with_its_segments_and_with_the_steps_it_owes(tmp_path: Path) -> None:
    first, history, seen = train(CONFIG, tmp_path / "run", stop_after=1)
    assert first.progress.iteration == 2
    owed = history[1]["cluster/steps_owed"]
    assert abs(first.learner.steps + owed - steps_for(first, first.replay.seen)) < 1e-6
    second, history, seen_then = train(CONFIG, tmp_path / "run", resume=True)
    assert sorted(history) == list(range(CONFIG.iterations))
    assert abs(second.learner.steps - steps_for(second, second.replay.seen)) <= 1
    # Segments that were under way when it stopped are played again, those that were taken in are not.
    taken = seen.taken[:6] + seen_then.taken
    assert len(taken) == 3 * CONFIG.iterations
    for stream in range(3):
        assert [part for of, part in taken if of == stream] == list(range(sum(of == stream for of, _ in taken)))


def test_matches_are_recorded_for_the_iteration_they_began_in(tmp_path: Path) -> None:
    _, history, _ = train(replace(CONFIG, iterations=5, evaluation=SMALL.evaluation), tmp_path / "run")
    assert [i for i, scalars in history.items() if "strength/random/points" in scalars] == [2, 4]


def test_learning_that_fails_ends_it(tmp_path: Path) -> None:
    reckless = replace(
        CONFIG, learner=replace(CONFIG.learner, optimizer="sgd", learning_rate=1e9, max_grad_norm=1e9, warmup=0.0)
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
