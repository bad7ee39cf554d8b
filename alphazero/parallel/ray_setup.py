"""The cluster, the workers and the learner's ranks that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray

from alphazero.config import Config
from alphazero.learner import Learner
from alphazero.parallel.distributed_learner import DistributedLearner
from alphazero.parallel.executor import ExecutorError, available_cores
from alphazero.parallel.ray_cluster import Needs, cluster, have, room
from alphazero.parallel.ray_executor import RayExecutor

Learn = Callable[..., dict[str, float]]  # `Learner.learn`, or `DistributedLearner.learn`


@contextmanager
def ray_executor(
    config: Config,
    make_worker: Callable[[int], Any],
    learner: Learner,
    *,
    log: Path,
    say: Callable[[str], None],
) -> Iterator[tuple[RayExecutor, Learn]]:
    """The workers of a run, and how its learner learns: by ranks, if it has several or they have GPUs.

    make_worker: see `RayExecutor`. log: the file for Ray's own messages. say: see `RayExecutor`, `DistributedLearner`.
    ExecutorError if the cluster cannot be joined or is too small.
    """
    gpus = config.learner_gpus
    ranks = gpus or (config.cluster.learner_ranks if config.cluster.learner_ranks > 1 else 0)
    needs = Needs(config.cluster.worker_cpus, config.cluster.worker_gpus)
    module = config.game.partition(":")[0]
    with ExitStack() as stack:
        stack.enter_context(cluster(config.ray_address, cores=available_cores(), modules=(module,), log=log))
        learn: Learn = learner.learn
        if ranks:
            learn = stack.enter_context(DistributedLearner(learner, ranks=ranks, gpus=gpus > 0, say=say)).learn
        size = 0 if config.workers == "auto" else config.workers
        if size == 0:  # each rank has a core of its own
            size = max(1, room(needs) - int(-(-ranks // needs.cpus)))
        if ranks and size * needs.cpus + ranks > ray.cluster_resources().get("CPU", 0):
            workers = f"{size} worker{'s' * (size != 1)} of {needs}"
            ranks_too = f"{ranks} rank{'s' * (ranks != 1)} of the learner of {Needs(1, gpus > 0)}"
            raise ExecutorError(f"{workers} and {ranks_too} were asked for, and {have()}")
        machines = "on this machine" if not config.ray_address else f"in the cluster at {config.ray_address}"
        say(f"{size} worker{'s' * (size != 1)} of {needs} {machines}, {config.cluster.mode}")
        if (streams := config.self_play.streams) < size:
            say(
                f"Only {streams} of them can play at once, a stream each: set self_play.streams to {size} or more "
                "(and lower self_play.parallel_games to keep iterations as long)"
            )
        yield RayExecutor(make_worker, size, needs, say=say, learning_threads=config.threads or 1), learn
