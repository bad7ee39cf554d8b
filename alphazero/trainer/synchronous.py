"""The training loop: self-play and learning in step.

Self-play of an iteration overlaps learning on the iterations before it. All tasks of an iteration - the learning, the
streams' segments, now and then a match - read what the iteration before left and share nothing while they run. So
whatever executes them, threads of this process or workers on many machines (`alphazero.parallel`), may take them in
any order, and the result does not depend on timing. (ONNX Runtime, torch and the kernels release the interpreter's
lock while they compute.)
"""

from __future__ import annotations

import time
from concurrent.futures import Future

from alphazero.game import concatenate
from alphazero.selfplay import SelfPlayStatistics
from alphazero.trainer.run import Iteration, Observer, Run


def train(run: Run, observer: Observer) -> None:
    """Trains until the configuration's last iteration, or until the run is stopped."""
    while run.going_on:
        started, iteration = time.monotonic(), run.progress.iteration
        weights = run.executor.share(run.learner.weights())
        learning = start_learning(run)
        observer.matches_due(iteration, weights)
        segments = [
            run.start_segment(number, stream.segments, stream.arrays(), weights)
            for number, stream in enumerate(run.streams)
        ]
        losses, played = learning.result(), [segment.result() for segment in segments]
        for stream, segment in zip(run.streams, played, strict=True):
            stream.load(segment.games)
        run.replay.extend(concatenate([segment.samples for segment in played]))
        statistics = sum((segment.statistics for segment in played), SelfPlayStatistics())
        games = {number: segment.game for number, segment in enumerate(played) if segment.game}
        run.finish(statistics.samples, statistics.seconds + losses.get("learner/seconds", 0.0))
        observer.iteration_over(Iteration(iteration, losses, statistics, games, time.monotonic() - started))
        observer.save()


def start_learning(run: Run) -> Future[dict[str, float]]:
    """Starts learning for as many steps as the last iteration's new samples ask for; at first there are none."""
    steps = round(run.steps_for(run.progress.new_samples))
    run.begin(steps)
    if steps == 0:
        nothing: Future[dict[str, float]] = Future()
        nothing.set_result({})
        return nothing
    iteration = run.progress.iteration
    return run.start_learning(steps, iteration, run.share(iteration), run.share(iteration + 1))
