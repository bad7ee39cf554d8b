"""What a training run or a benchmark needs of a cluster, put together from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray

from alphazero.config import Config
from alphazero.learner import Learner
from alphazero.parallel.distributed_learner import Gang
from alphazero.parallel.executor import CrewError, available_cores
from alphazero.parallel.ray_cluster import Needs, cluster, have, room
from alphazero.parallel.ray_executor import RayCrew


@contextmanager
def ray_executor(
    config: Config,
    make_worker: Callable[[int], Any],
    learner: Learner,
    *,
    say: Callable[[str], None],
    log: Path,
) -> Iterator[tuple[RayCrew, Callable[..., dict[str, float]]]]:
    """The workers of a run, and what learns: the learner's ranks if it has several or they have GPUs, else itself.

    log: where Ray's own words go. CrewError if the cluster cannot be had or is too small.
    """
    gpus = config.learner_gpus
    ranks = gpus or (config.cluster.learner_ranks if config.cluster.learner_ranks > 1 else 0)
    needs = Needs(config.cluster.worker_cpus, config.cluster.worker_gpus)
    module = config.game.partition(":")[0]
    with ExitStack() as stack:
        stack.enter_context(cluster(config.ray_address, cores=available_cores(), modules=(module,), log=log))
        learn = learner.learn
        if ranks:
            learn = stack.enter_context(Gang(learner, ranks=ranks, gpus=gpus > 0, say=say)).learn
        size = 0 if config.workers == "auto" else config.workers
        if size == 0:  # each rank has a core of its own
            size = max(1, room(needs) - int(-(-ranks // needs.cpus)))
        if ranks and size * needs.cpus + ranks > ray.cluster_resources().get("CPU", 0):
            workers = f"{size} worker{'s' * (size != 1)} of {needs}"
            ranks_too = f"{ranks} rank{'s' * (ranks != 1)} of the learner of {Needs(1, gpus > 0)}"
            raise CrewError(f"{workers} and {ranks_too} were asked for, and {have()}")
        crew = RayCrew(make_worker, size, needs, say=say, learning_threads=config.threads or 1)
        advise(config, crew, say)
        yield crew, learn


def advise(config: Config, crew: RayCrew, say: Callable[[str], None]) -> None:
    """Says who works, and if some of them have nothing to do."""
    streams = config.self_play.streams
    machines = "on this machine" if not config.ray_address else f"in the cluster at {config.ray_address}"
    say(f"{crew.size} worker{'s' * (crew.size != 1)} of {crew.needs} {machines}, {config.cluster.mode}")
    if streams < crew.size:
        say(
            f"Only {streams} of them can play at once, a stream each: set self_play.streams to {crew.size} or more "
            "(and self_play.games lower, if an iteration shall stay as long)"
        )
