"""The cluster, the workers and the learner's ranks that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import ray

from alphazero.config import Config
from alphazero.learner import Learner
from alphazero.parallel.distributed_learner import DistributedLearner
from alphazero.parallel.executor import ExecutorError, MakeWorker, Say, available_cores
from alphazero.parallel.ray_cluster import Needs, cluster, have, room
from alphazero.parallel.ray_executor import RayExecutor


@contextmanager
def ray_executor(
    config: Config, make_worker: MakeWorker, learner: Learner, *, log: Path, say: Say, fix: str
) -> Iterator[tuple[RayExecutor, Callable[..., dict[str, float]]]]:
    """The workers of a run, and how its learner learns: by ranks, if it has several or they have GPUs.

    make_worker: see `RayExecutor`. log, fix: see `cluster`. say: see `RayExecutor`, `DistributedLearner`.
    ExecutorError if the cluster cannot be joined or is too small.
    """
    gpus = config.learner_gpus
    ranks = gpus or (config.cluster.learner_ranks if config.cluster.learner_ranks > 1 else 0)
    paths = (config.game, config.network.kind) if config.network.own else (config.game,)
    modules = tuple(path.partition(":")[0] for path in paths)
    needs = Needs(config.cluster.worker_cpus, config.cluster.worker_gpus)
    with (
        cluster(config.ray_address, cores=available_cores(), modules=modules, log=log, fix=fix),
        DistributedLearner(learner, ranks=ranks, gpus=gpus > 0, say=say) if ranks else nullcontext(learner) as teacher,
    ):
        automatic = max(1, room(needs) - int(-(-ranks // needs.cpus)))  # each rank has a core of its own
        size = automatic if config.workers == "auto" else config.workers or automatic
        workers = f"{size} worker{'s' * (size != 1)} of {needs}"
        if ranks and size * needs.cpus + ranks > ray.cluster_resources().get("CPU", 0):
            ranks_too = f"{ranks} rank{'s' * (ranks != 1)} of the learner of {Needs(1, gpus > 0)}"
            raise ExecutorError(f"{workers} and {ranks_too} were asked for, and {have()}")
        machines = "on this machine" if not config.ray_address else f"in the cluster at {config.ray_address}"
        say(f"{workers} {machines}, {config.cluster.mode}")
        if (streams := config.self_play.streams) < size:
            say(
                f"Only {streams} of them can play at once, a stream each: set self_play.streams to {size} or more "
                "(and lower self_play.parallel_games to keep iterations as long)"
            )
        yield RayExecutor(make_worker, size, needs, say=say, local_threads=config.threads or 1), teacher.learn
