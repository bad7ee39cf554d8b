"""Ray workers do each task once, whatever happens to the workers. All with the real Ray."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from alphazero.parallel import ray_executor as module
from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.ray_cluster import Needs, cluster, room
from alphazero.parallel.ray_executor import RayExecutor, TaskError
from tests.parallel.executor_tasks import (
    PATIENCE,
    CountTask,
    DeadlyTask,
    FailingTask,
    ThreadsTask,
    is_alive,
    make_nothing,
    wait_until,
)

pytestmark = pytest.mark.cluster

CORE = Needs(1, 0)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with cluster("", cores=4):
        yield


def executor(size: int, *, cpus: float = 1, said: list[str] | None = None) -> RayExecutor:
    return RayExecutor(make_nothing, size, Needs(cpus, 0), say=[].append if said is None else said.append)


def test_outcomes_are_those_of_the_tasks_and_progress_adds_up(tmp_path: Path) -> None:
    with executor(2) as workers:
        wait_until(lambda: len(workers.pids()) == 2)
        shared, counted = workers.share(1000), list[int]()
        tasks = [CountTask(n, tmp_path / "book", units=7, seconds=0.1) for n in range(9)]
        futures = [workers.submit(task, shared, count=counted.append) for task in tasks]
        assert [future.result(PATIENCE)[0] for future in futures] == [1000 + n**2 for n in range(9)]
        assert len({future.result()[1] for future in futures}) == 2  # both had some
        assert sum(counted) == 9 * 7
        wait_until(lambda: workers.scalars()["memory/workers_mb"] > 0)
        scalars = workers.scalars()
    assert scalars["cluster/workers"] == 2
    assert scalars["cluster/restarts"] == scalars["cluster/queued"] == scalars["cluster/in_flight"] == 0
    assert sorted(map(int, (tmp_path / "book").read_text().split())) == list(range(9))


def test_workers_that_are_killed_lose_and_double_nothing(tmp_path: Path) -> None:
    """(Twenty of them in a whole run: see tests/trainer/test_training_over_ray.py.)"""
    chance, said, killed = random.Random(1), list[str](), set[int]()
    counted: Counter[int] = Counter()

    def submit(workers: RayExecutor, n: int) -> Future[tuple[int, int]]:
        task = CountTask(n, tmp_path / "book", units=4, seconds=0.6)
        return workers.submit(task, count=lambda done: counted.update({n: done}))

    with executor(3, said=said) as workers:
        futures = [submit(workers, n) for n in range(20)]
        while len(killed) < 6:
            time.sleep(chance.uniform(0, 0.7))
            if alive := sorted(set(workers.pids()) - killed):
                victim = chance.choice(alive)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
        outcomes = [future.result(PATIENCE)[0] for future in futures]
        wait_until(lambda: workers.scalars()["cluster/workers"] == 3)
        scalars = workers.scalars()
    assert outcomes == [n**2 for n in range(20)]
    assert scalars["cluster/restarts"] == 6
    assert sum("Lost worker" in words for words in said) == 6
    # Only lost tasks were begun again.
    begun = Counter((tmp_path / "book").read_text().split())
    assert len(begun) == 20
    assert begun.total() - 20 <= scalars["cluster/lost_tasks"] <= 6
    assert counted == Counter(dict.fromkeys(range(20), 4))


def test_the_first_error_of_a_task_ends_all_once_and_is_reported_with_its_seed(tmp_path: Path) -> None:
    with executor(3) as workers:
        wait_until(lambda: len(workers.pids()) == 3)
        long = [workers.submit(CountTask(7, tmp_path / "good", seconds=60))]
        bad = [workers.submit(FailingTask(n, tmp_path / "book", seconds=n - 41)) for n in range(41, 44)]
        with pytest.raises(TaskError, match=r"task of seed 41 failed") as failure:
            bad[0].result(PATIENCE)
        words = str(failure.value)
        assert "ZeroDivisionError: no such luck with 41" in words
        assert "executor_tasks.py" in words  # the traceback
        assert "\x1b" not in words
        time.sleep(2)  # meanwhile another fails as well
        for other in (*long, *bad[1:], workers.submit(CountTask(1, tmp_path / "book"))):
            assert other.exception(5) is failure.value
    assert sorted((tmp_path / "book").read_text().split()) == ["41", "42"]


def test_a_task_that_kills_its_workers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOSSES", 3)
    with executor(2) as workers, pytest.raises(ExecutorError, match=r"task of seed 5 was lost 3 times"):
        workers.submit(DeadlyTask(5, tmp_path / "book")).result(PATIENCE)


def test_workers_that_cannot_start_are_reported_at_once() -> None:
    def broken(threads: int) -> None:
        raise FileNotFoundError("no game is here")

    with (
        RayExecutor(broken, 2, CORE) as workers,
        pytest.raises(TaskError, match=r"(?s)a worker's start failed.*FileNotFoundError: no game is here"),
    ):
        workers.submit(CountTask(1, Path("nowhere"))).result(PATIENCE)


def test_too_few_resources_are_reported() -> None:
    with pytest.raises(
        ExecutorError, match=r"8 workers of 1 CPU each were asked for, and the cluster has 4 CPUs on 1 mach"
    ):
        executor(8)
    with pytest.raises(ExecutorError, match=r"1 worker of 1 CPU and 0.5 GPUs each .* has 4 CPUs on 1 machine"):
        RayExecutor(make_nothing, 1, Needs(1, 0.5))


def test_an_executor_waits_for_cores_that_others_hold_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    said: list[str] = []

    def no_more(done: int) -> None:
        raise InterruptedError("enough")

    with ExitStack() as stack:
        others = stack.enter_context(executor(4))
        wait_until(lambda: len(others.pids()) == 4)
        with executor(1) as stopped:
            waiting = stopped.submit(CountTask(2, tmp_path / "book"), count=no_more)
            assert isinstance(waiting.exception(5), InterruptedError)
        with executor(2, said=said) as workers:
            outcome = workers.submit(CountTask(3, tmp_path / "book"))
            wait_until(lambda: bool(said))
            assert said == [
                "No worker is ready yet. Each takes 1 CPU, also while it starts, and the cluster has 4 CPUs on "
                "1 machine, of which 0 CPUs free. Ctrl-C twice gives up."
            ]
            stack.close()
            assert outcome.result(PATIENCE)[0] == 9


def test_a_worker_computes_on_the_cores_that_it_was_given(tmp_path: Path) -> None:
    for cpus, threads in ((2, 2), (0.5, 1)):
        with executor(1, cpus=cpus) as workers:
            assert workers.submit(ThreadsTask(1, tmp_path / "book")).result(PATIENCE) == (threads, threads)


def test_stopping_the_driver_stops_the_tasks(tmp_path: Path) -> None:
    stop = threading.Event()

    def count(done: int) -> None:
        if stop.is_set():
            raise InterruptedError("enough")

    with executor(1) as workers:
        futures = [workers.submit(CountTask(n, tmp_path / "book", seconds=60), count=count) for n in range(3)]
        wait_until((tmp_path / "book").exists)
        processes = [psutil.Process(pid) for pid in workers.pids()]
        assert processes
        stop.set()
        assert all(isinstance(future.exception(5), InterruptedError) for future in futures)
    wait_until(lambda: not any(map(is_alive, processes)))


@pytest.mark.usefixtures("_without_cluster")
def test_a_machine_goes_and_another_comes(tmp_path: Path) -> None:
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost = machines.add_node(num_cpus=1)
        said: list[str] = []
        with cluster(machines.address, cores=1):
            with executor(2, said=said) as workers:

                def submit(numbers: range) -> list[Future[tuple[int, int]]]:
                    return [workers.submit(CountTask(n, tmp_path / "book", seconds=0.5)) for n in numbers]

                wait_until(lambda: len(workers.pids()) == 2)
                first = workers.pids()
                futures = submit(range(10))
                futures[2].result(PATIENCE)
                machines.remove_node(lost, allow_graceful=False)
                futures[-1].result(PATIENCE)  # the one that is left does them all
                wait_until(lambda: room(CORE) == 1)
                machines.add_node(num_cpus=1)
                wait_until(lambda: len(workers.pids()) == 2)
                futures += submit(range(10, 16))
                outcomes = [future.result(PATIENCE) for future in futures]
            assert any("Lost worker" in words for words in said)
            assert [outcome for outcome, _ in outcomes] == [n**2 for n in range(16)]
            assert {pid for _, pid in outcomes[:10]} == set(first)
            (newcomer,) = {pid for _, pid in outcomes[10:]} - set(first)
            assert newcomer
    finally:
        machines.shutdown()


@pytest.fixture
def _without_cluster() -> None:
    """Lets a test have a cluster of its own: a process can be in only one."""
    ray.shutdown()
