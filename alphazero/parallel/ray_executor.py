"""An executor of Ray workers: processes on one machine or many, each with one task at a time.

A task that is lost with its worker, or whose outcome is lost with a machine, runs again on any worker, and a new
process takes the worker's place. (Ray's own `max_task_retries` would run it again on the same actor alone: after the
loss of a machine it would wait for another machine, even while other workers are free.) A task that fails by its own
fault would fail again: its first error ends everything.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import re
import threading
import time
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import ray
import torch
from ray.exceptions import RayActorError, RayError, RayTaskError, RuntimeEnvSetupError

from alphazero.parallel.executor import Counter, Executor, ExecutorError, MakeWorker, Outcome, Say, Task
from alphazero.parallel.ray_cluster import Needs, check_daemons, check_room, dead_daemons, have

MOST_LOSSES = 10  # of one task, or of workers in a row before they are ready: after so many, the fault is their own
PATIENCE = 20.0  # seconds without any worker until a message says what is missing
HEARTBEAT = 0.5  # seconds between two heartbeats of a worker, at least
HEARTBEATS = 32  # the most heartbeats a second, of all workers together


class TaskError(ExecutorError):
    """A task failed, by its own fault and not for want of a machine; the message holds the traceback."""


class WorkerProcess:
    """The actor: prepares once what all its tasks need, then runs them."""

    done = 0  # units, since the start

    def prepare(self, make_worker: MakeWorker, threads: int) -> int:
        """Makes the worker, with this many threads for an operation; returns the process's number."""
        torch.set_num_threads(threads)  # applies to the calling thread, in which `run` is called too
        self.worker = make_worker(threads)
        return os.getpid()

    def run(self, task: Task[Outcome], *shared: Any) -> tuple[Outcome, int]:
        """The task's outcome, and the units done since the start."""
        return task.run(self.worker, self.count, *shared), self.done

    def count(self, done: int) -> None:
        self.done += done

    @ray.method(concurrency_group="heartbeat")
    def heartbeat(self) -> tuple[int, int]:
        """The units done since the start, and bytes of memory. Answers while a task runs."""
        return self.done, psutil.Process().memory_info().rss


@dataclass(eq=False)
class PendingTask:
    """A task whose outcome is awaited."""

    task: Task[Any]
    shared: tuple[Any, ...]
    count: Counter
    number: int  # in the order of submission
    future: Future[Any] = field(default_factory=Future)
    counted: int = 0  # units that `count` was told of; it is told of more when it has come further than ever
    losses: int = 0

    def tell(self, done: int) -> None:
        """Tells `count` how many more than ever are done; an exception of it is how a run is stopped at once."""
        more = max(0, done - self.counted)
        self.counted += more
        self.count(more)


@dataclass(eq=False)
class Worker:
    """One of the executor's workers; its processes come and go."""

    number: int
    actor: Any = None
    pid: int = 0  # 0: not ready
    pending: PendingTask | None = None
    done: int = 0  # units since the process started
    base: int = 0  # units done when the pending task began
    reported: int = 0  # units at the last call of `scalars`
    resident: int = 0  # bytes of memory

    def advance(self, done: int) -> None:
        """Updates the count of units done."""
        self.done = max(self.done, done)
        if self.pending:
            self.pending.tell(self.done - self.base)


class RayExecutor(Executor):
    """An executor of `size` workers, with `local_threads` for an operation of `local`. Ray must be running already.

    make_worker: makes the tasks' `worker` in each process.
    say:         is told of workers lost, and of resources that the executor waits for.

    ExecutorError, from here or from the tasks' futures, if the cluster has no room for the workers, if they do not
    start, or if a task cannot be done.
    """

    def __init__(
        self, make_worker: MakeWorker, size: int, needs: Needs, *, say: Say = lambda text: None, local_threads: int = 1
    ) -> None:
        check_room(size, needs, "workers" if size != 1 else "worker")
        self.size, self.needs, self.say = size, needs, say
        self.threads = max(1, int(needs.cpus))
        self.local = ThreadPoolExecutor(2, "driver", initializer=partial(torch.set_num_threads, local_threads))
        self.restarts, self.lost_tasks = 0, 0
        self._make_worker = ray.put(make_worker)
        remote: Any = ray.remote  # its types lack the call with options alone
        resources = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "scheduling_strategy": "SPREAD"}
        self._actor_class = remote(**resources, concurrency_groups={"heartbeat": 1})(WorkerProcess)
        self._workers = [Worker(number) for number in range(size)]
        self._lock = threading.Lock()  # of the failure and the unfinished tasks
        self._failure: BaseException | None = None
        self._unfinished: set[PendingTask] = set()
        self._numbers = itertools.count()
        self._queue: asyncio.PriorityQueue[tuple[int, PendingTask]] = asyncio.PriorityQueue()  # lost tasks come first
        self._deaths = 0  # of workers in a row before they were ready
        self._reported = time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._serve())
        serve = partial(self._loop.run_until_complete, self._serving)
        self._thread = threading.Thread(target=serve, name="ray executor", daemon=True)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()
        self._loop.close()
        self._fail(ExecutorError("the executor has ended"))
        for worker in self._workers if not dead_daemons() else ():
            ray.kill(worker.actor)
        super().__exit__(*error)

    def share(self, thing: Any) -> Any:
        """One copy a machine, fetched from the object store by its reference."""
        return ray.put(thing)

    def submit(self, task: Task[Outcome], *shared: Any, count: Counter = lambda done: None) -> Future[Outcome]:
        pending = PendingTask(task, shared, count, next(self._numbers))
        with self._lock:
            if self._failure is None:
                self._unfinished.add(pending)
                self._loop.call_soon_threadsafe(self._queue.put_nowait, (pending.number, pending))
            else:
                pending.future.set_exception(self._failure)
        return pending.future

    def scalars(self) -> dict[str, float]:
        """By tag: units a second of each worker, how many there are, losses, queues, memory."""
        now = time.monotonic()
        seconds, self._reported = max(1e-9, now - self._reported), now
        total, free = ray.cluster_resources(), ray.available_resources()
        store = total.get("object_store_memory", 0.0) - free.get("object_store_memory", 0.0)
        scalars = {
            "cluster/workers": float(len(self.pids())),
            "cluster/restarts": float(self.restarts),
            "cluster/lost_tasks": float(self.lost_tasks),
            "cluster/in_flight": float(sum(worker.pending is not None for worker in self._workers)),
            "cluster/queued": float(self._queue.qsize()),
            "cluster/object_store_mb": max(0.0, store) / 2**20,
            "memory/workers_mb": sum(worker.resident for worker in self._workers) / 2**20,
        }
        rates = []
        for worker in self._workers:
            rates.append((worker.done - worker.reported) / seconds)
            scalars[f"cluster/worker/{worker.number}_per_second"] = rates[-1]
            worker.reported = worker.done
        return scalars | {"cluster/slowest_per_second": min(rates), "cluster/fastest_per_second": max(rates)}

    def pids(self) -> list[int]:
        """The process ids of the workers that are ready, each on its own machine."""
        return [worker.pid for worker in self._workers if worker.pid]

    def _fail(self, error: BaseException) -> None:
        """Ends all pending tasks with the first error."""
        with self._lock:
            self._failure = self._failure or error
            unfinished, self._unfinished = self._unfinished, set()
        for pending in unfinished:
            if not pending.future.done():
                pending.future.set_exception(self._failure)

    # --- In the loop's thread

    async def _serve(self) -> None:
        """Keeps the workers at work until the first error."""
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(self._keep(worker))
                group.create_task(self._look())
        except asyncio.CancelledError:
            pass  # the executor is left
        except BaseExceptionGroup as errors:
            self._fail(_first(errors))

    async def _keep(self, worker: Worker) -> None:
        """Keeps a worker at work, with a new process whenever one dies."""
        while True:
            worker.actor, worker.pid = self._actor_class.remote(), 0
            worker.done = worker.reported = worker.resident = 0
            try:
                call = worker.actor.prepare.remote(self._make_worker, self.threads)
                worker.pid = await _outcome(call, "a worker's start")
                self._deaths = 0
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._work(worker))
                    group.create_task(self._watch(worker))
            except* RayActorError as errors:
                self._lose(worker, _first(errors))

    async def _work(self, worker: Worker) -> None:
        """Gives the worker one task after the other."""
        while True:
            _, pending = await self._queue.get()
            worker.pending, worker.base = pending, worker.done
            try:
                call = worker.actor.run.remote(pending.task, *pending.shared)
                outcome, done = await _outcome(call, pending.task.title)
            except RayActorError:
                raise
            except RayError as error:  # the worker is there; its outcome was lost on the way
                self._run_again(worker, error)
                continue
            worker.advance(done)
            worker.pending = None
            self._unfinished.discard(pending)
            if not pending.future.done():
                pending.future.set_result(outcome)

    async def _watch(self, worker: Worker) -> None:
        while True:
            try:
                done, worker.resident = await worker.actor.heartbeat.remote()
                worker.advance(done)
            except RayError as error:
                if isinstance(error, RayActorError):
                    raise  # else only this answer is lost
            await asyncio.sleep(max(HEARTBEAT, self.size / HEARTBEATS))

    async def _look(self) -> None:
        """Now and then gives pending tasks the chance to stop the run, and says so if there is no worker.

        Raises if Ray itself has died.
        """
        alone = 0  # looks in a row without a worker
        while True:
            await asyncio.sleep(HEARTBEAT)
            check_daemons()
            for pending in list(self._unfinished):
                pending.tell(0)
            alone = 0 if self.pids() else alone + 1
            if alone == math.ceil(PATIENCE / HEARTBEAT):
                self.say(
                    f"No worker is ready yet. Each takes {self.needs}, also while it starts, and {have()}. "
                    "Ctrl-C twice gives up."
                )

    def _run_again(self, worker: Worker, error: BaseException) -> str:
        """Takes the worker's task from it, for any worker; returns the task's title, if there was one."""
        pending, worker.pending = worker.pending, None
        if pending is None:
            return ""
        self.lost_tasks += 1
        pending.losses += 1
        if pending.losses >= MOST_LOSSES:
            raise ExecutorError(f"{pending.task.title} was lost {pending.losses} times, the last time with: {error}")
        self._queue.put_nowait((pending.number, pending))
        return pending.task.title

    def _lose(self, worker: Worker, error: BaseException) -> None:
        """Records that the worker's process is gone, and returns its task to the queue."""
        check_daemons()
        title = self._run_again(worker, error)
        self._deaths += not worker.pid
        if self._deaths >= MOST_LOSSES:
            raise ExecutorError(f"{self._deaths} workers in a row died before they were ready: {error}")
        self.restarts += 1
        process = f"process {worker.pid}" if worker.pid else "before it was ready"
        self.say(f"Lost worker {worker.number} ({process})" + (f"; again: {title}" if title else ""))
        ray.kill(worker.actor)  # in case it is only out of reach


async def _outcome(call: Awaitable[Any], title: str) -> Any:
    """The call's outcome. TaskError if the call fails by its own fault."""
    try:
        return await call
    except RayTaskError as error:
        raise TaskError(f"{title} failed:\n{_traceback(error)}") from None
    except RuntimeEnvSetupError as error:
        raise ExecutorError(f"a machine of the cluster cannot run this code: {error}") from error


def _first(error: BaseException) -> BaseException:
    """The first error of a group, or of a group in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _traceback(error: RayTaskError) -> str:
    """The traceback as the worker saw it, without Ray's colours and without marks under lines that are left out."""
    lines = re.sub("\x1b\\[[0-9;]*m", "", str(error)).strip().splitlines()
    return "\n".join(line for line in lines if line.strip(" ^~"))
