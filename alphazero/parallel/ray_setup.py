"""What a training run or a benchmark needs of a cluster, put together from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import ray

from alphazero.config import Config
from alphazero.parallel.distributed_learner import DistributedLearner
from alphazero.parallel.executor import ExecutorError, available_cores
from alphazero.parallel.ray_cluster import Needs, cluster, have, room
from alphazero.parallel.ray_executor import RayExecutor
from alphazero.trainer.synchronous import Training
from alphazero.trainer.tasks import make_worker


@contextmanager
def ray_executor(training: Training, *, say: Callable[[str], None], log: Path) -> Iterator[RayExecutor]:
    """The workers of a run, and its learner's ranks if it has several or they have GPUs.

    log: where Ray's own words go. ExecutorError if the cluster cannot be had or is too small.
    """
    config = training.config
    gpus = config.learner_gpus
    ranks = gpus or (config.cluster.learner_ranks if config.cluster.learner_ranks > 1 else 0)
    needs = Needs(config.cluster.worker_cpus, config.cluster.worker_gpus)
    module = config.game.partition(":")[0]
    with ExitStack() as stack:
        stack.enter_context(cluster(config.ray_address, cores=available_cores(), modules=(module,), log=log))
        if ranks:
            distributed = DistributedLearner(training.learner, ranks=ranks, gpus=gpus > 0, say=say)
            training.learn = stack.enter_context(distributed).learn
        size = 0 if config.workers == "auto" else config.workers
        if size == 0:  # each rank has a core of its own
            size = max(1, room(needs) - int(-(-ranks // needs.cpus)))
        if ranks and size * needs.cpus + ranks > ray.cluster_resources().get("CPU", 0):
            workers = f"{size} worker{'s' * (size != 1)} of {needs}"
            ranks_too = f"{ranks} rank{'s' * (ranks != 1)} of the learner of {Needs(1, gpus > 0)}"
            raise ExecutorError(f"{workers} and {ranks_too} were asked for, and {have()}")
        make = partial(make_worker, config, training.judges.exported)
        executor = RayExecutor(make, size, needs, say=say, learning_threads=config.threads or 1)
        advise(config, executor, say)
        yield executor


def advise(config: Config, executor: RayExecutor, say: Callable[[str], None]) -> None:
    """Says who works, and if some of them have nothing to do."""
    streams = config.self_play.streams
    machines = "on this machine" if not config.ray_address else f"in the cluster at {config.ray_address}"
    say(f"{executor.size} worker{'s' * (executor.size != 1)} of {executor.needs} {machines}, {config.cluster.mode}")
    if streams < executor.size:
        say(
            f"Only {streams} of them can play at once, a stream each: set self_play.streams to {executor.size} or more "
            "(and self_play.games lower, if an iteration shall stay as long)"
        )
