"""An executor of Ray workers: processes on one machine or many, each with one task at a time.

A task that is lost with its worker, or whose outcome is lost with a machine, is run again by another one, and the
worker is replaced. A task that fails by itself would do so again: its first error ends everything.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import psutil
import ray
import torch
from ray.exceptions import RayActorError, RayError, RayTaskError, RuntimeEnvSetupError

from alphazero.parallel.executor import Counter, ExecutorError, Outcome, Task
from alphazero.parallel.ray_cluster import Needs, check_room, have

MOST_LOSSES = 10  # of one task, or of workers in a row that die before they are ready: it is they that kill
PATIENCE = 20.0  # seconds without any worker until it is said what is missing
POLL = 0.05  # seconds that a new task may have to wait until its end is noticed
HEARTBEAT = 0.5  # seconds between two looks at what the workers are doing, or more:
HEARTBEATS = 32  # so many answers a second are enough for anyone who watches


class TaskError(ExecutorError):
    """A task failed, by its own fault and not for want of a machine; the message holds the traceback."""


class Lost(Exception):
    """A task's worker, or its outcome, is gone."""


class Heartbeat(NamedTuple):
    """A worker's answer. done: units of its tasks since it started; resident: bytes of memory."""

    done: int
    resident: int


NO_HEARTBEAT = Heartbeat(0, 0)


class WorkerProcess:
    """The actor: makes ready once what all its tasks need, then runs them."""

    def __init__(self) -> None:
        self.done = 0
        self.worker: Any = None

    def prepare(self, make_worker: Callable[[int], Any], threads: int) -> int:
        """`make_worker` is told how many threads an operation may use. Returns the process's number."""
        torch.set_num_threads(threads)  # holds for a thread, and `run` is called in the same
        self.worker = make_worker(threads)
        return os.getpid()

    def run(self, task: Task[Outcome], *shared: Any) -> tuple[Outcome, int]:
        """The task's outcome, and the units done since the start."""
        return task.run(self.worker, self.count, *shared), self.done

    def count(self, done: int) -> None:
        self.done += done

    @ray.method(concurrency_group="watch")
    def watch(self) -> Heartbeat:
        """Answers while a task runs."""
        return Heartbeat(self.done, psutil.Process().memory_info().rss)


@dataclass(eq=False)
class PendingTask:
    """A task, whose outcome somebody waits for."""

    task: Task[Any]
    shared: tuple[Any, ...]
    count: Counter
    future: Future[Any] = field(default_factory=Future)
    counted: int = 0  # units that `count` was told of; it is told of more when it has come further than ever
    losses: int = 0


@dataclass(eq=False)
class Worker:
    """A worker's place in the executor; its processes come and go."""

    number: int
    actor: Any
    pid: int = 0
    pending: PendingTask | None = None
    ready: bool = False
    heartbeat: Heartbeat = NO_HEARTBEAT
    base: int = 0  # units done when the pending began
    reported: int = 0  # units at the last call of `scalars`
    watching: bool = False


class RayExecutor:
    """`size` workers, see `executor.Executor`; Ray has to be there already (`ray_cluster`).

    make_worker: makes what the tasks are given, in each process; is told how many threads an operation may use.
    say:         is told what people should know: workers lost, and what is waited for.

    ExecutorError, from here or from the tasks' futures, if the cluster has no room for them, they do not start, or a
    task cannot be done.
    """

    def __init__(
        self,
        make_worker: Callable[[int], Any],
        size: int,
        needs: Needs,
        *,
        say: Callable[[str], None] = lambda text: None,
        learning_threads: int = 1,
    ) -> None:
        check_room(size, needs, "workers" if size != 1 else "worker")
        self.size, self.needs, self.say = size, needs, say
        self.threads = max(1, int(needs.cpus))
        self.local = ThreadPoolExecutor(2, "driver", initializer=partial(torch.set_num_threads, learning_threads))
        self.restarts, self.lost_tasks = 0, 0
        self._make_worker = ray.put(make_worker)
        remote: Any = ray.remote  # whose types do not tell that it takes options alone
        self._actor_class = remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            scheduling_strategy="SPREAD",
            concurrency_groups={"watch": 1},
        )(WorkerProcess)
        self._lock = threading.RLock()
        self._queue: deque[PendingTask] = deque()
        self._expected: dict[Any, tuple[str, Worker]] = {}  # what of which worker a reference will bring
        self._deaths = 0  # of workers in a row before they were ready
        self._failure: BaseException | None = None
        self._closing = threading.Event()
        self._looked = self._reported = self._alone_since = time.monotonic()
        self._complained = False
        self._workers = [Worker(number, None) for number in range(size)]
        for worker in self._workers:
            self._fill(worker)
        self._server = threading.Thread(target=self._serve, name="cluster executor", daemon=True)
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.join()
        self._fail(ExecutorError("the executor was sent home"))
        for worker in self._workers:
            ray.kill(worker.actor)
        self.local.shutdown(cancel_futures=True)

    def share(self, thing: Any) -> Any:
        """One copy a machine, fetched from the object store by its reference."""
        return ray.put(thing)

    def submit(self, task: Task[Outcome], *shared: Any, count: Counter = lambda done: None) -> Future[Outcome]:
        pending = PendingTask(task, shared, count)
        with self._lock:
            if self._failure is not None:
                pending.future.set_exception(self._failure)
            else:
                self._queue.append(pending)
                self._assign()
        return pending.future

    def scalars(self) -> dict[str, float]:
        """By tag: units a second of each worker, how many there are, losses, queues, memory."""
        with self._lock:
            now = time.monotonic()
            seconds, self._reported = max(1e-9, now - self._reported), now
            total, free = ray.cluster_resources(), ray.available_resources()
            store = total.get("object_store_memory", 0.0) - free.get("object_store_memory", 0.0)
            scalars = {
                "cluster/workers": float(sum(worker.ready for worker in self._workers)),
                "cluster/restarts": float(self.restarts),
                "cluster/lost_tasks": float(self.lost_tasks),
                "cluster/in_flight": float(sum(worker.pending is not None for worker in self._workers)),
                "cluster/queued": float(len(self._queue)),
                "cluster/object_store_mb": max(0.0, store) / 2**20,
                "memory/workers_mb": sum(worker.heartbeat.resident for worker in self._workers) / 2**20,
            }
            rates = []
            for worker in self._workers:
                rates.append((worker.heartbeat.done - worker.reported) / seconds)
                scalars[f"cluster/worker/{worker.number}_per_second"] = rates[-1]
                worker.reported = worker.heartbeat.done
            scalars |= {"cluster/slowest_per_second": min(rates), "cluster/fastest_per_second": max(rates)}
            return scalars

    def pids(self) -> list[int]:
        """Of the workers that are ready; each on its own machine."""
        with self._lock:
            return [worker.pid for worker in self._workers if worker.ready]

    # All below is the server's thread, or holds the lock.

    def _serve(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                waiting = list(self._expected)
            try:
                ready, _ = ray.wait(waiting, timeout=POLL) if waiting else ([], self._closing.wait(POLL))
                for reference in ready:
                    self._settle(reference)
                with self._lock:
                    self._look()
                    self._assign()
            except Exception as error:  # whoever waits for a task must hear of it
                self._fail(error)
                return

    def _fill(self, worker: Worker) -> None:
        """A new process for the worker."""
        worker.actor = self._actor_class.remote()
        worker.ready, worker.pending, worker.watching = False, None, False
        worker.heartbeat, worker.reported = NO_HEARTBEAT, 0
        self._expected[worker.actor.prepare.remote(self._make_worker, self.threads)] = ("prepare", worker)

    def _assign(self) -> None:
        """Gives waiting pending_tasks to free workers."""
        for worker in self._workers:
            if not self._queue:
                return
            if worker.ready and worker.pending is None:
                pending = worker.pending = self._queue.popleft()
                worker.base = worker.heartbeat.done
                reference = worker.actor.run.remote(pending.task, *pending.shared)
                self._expected[reference] = ("run", worker)

    def _settle(self, reference: Any) -> None:
        """Takes what a reference brought."""
        with self._lock:
            what, worker = self._expected.pop(reference)
            pending = worker.pending
        try:
            brought = ray.get(reference)
        except RayTaskError as error:
            title = pending.task.title if what == "run" and pending else "a worker's start"
            self._fail(TaskError(f"{title} failed:\n{_traceback(error)}"))
        except RuntimeEnvSetupError as error:
            self._fail(ExecutorError(f"a machine of the cluster cannot run this code: {error}"))
        except RayError as error:
            with self._lock:
                if what == "watch" and not isinstance(error, RayActorError):
                    worker.watching = False  # the answer went astray, no more than that
                else:
                    self._lose(worker, error)
        else:
            self._take(what, worker, pending, brought)

    def _take(self, what: str, worker: Worker, pending: PendingTask | None, brought: Any) -> None:
        if what == "prepare":
            with self._lock:
                worker.pid, worker.ready, self._deaths = brought, True, 0
                self._assign()
        elif what == "watch":
            worker.heartbeat, worker.watching = brought, False
            if pending:
                self._count(worker, pending)
        elif pending:
            outcome, done = brought
            worker.heartbeat = worker.heartbeat._replace(done=done)
            self._count(worker, pending)
            with self._lock:
                worker.pending = None
                self._assign()
            if not pending.future.done():
                pending.future.set_result(outcome)

    def _count(self, worker: Worker, pending: PendingTask) -> None:
        self._tell(pending, max(0, worker.heartbeat.done - worker.base - pending.counted))

    def _tell(self, pending: PendingTask, more: int) -> None:
        """Tells how many more units of an pending are done; an exception is how a run is stopped at once."""
        pending.counted += more
        try:
            pending.count(more)
        except Exception as error:
            self._fail(error)

    def _lose(self, worker: Worker, error: RayError) -> None:
        """The worker's pending is done again, and if its process is gone it gets a new one."""
        pending, worker.pending = worker.pending, None
        if pending:
            self.lost_tasks += 1
            pending.losses += 1
            self._queue.appendleft(pending)
            if pending.losses >= MOST_LOSSES:
                self._fail(ExecutorError(f"{pending.task.title} was lost {pending.losses} times, at last so: {error}"))
                return
        if not isinstance(error, RayActorError):  # the worker is there; its outcome was lost on the way
            return
        if not worker.ready:
            self._deaths += 1
            if self._deaths >= MOST_LOSSES:
                self._fail(ExecutorError(f"{self._deaths} workers in a row died before they were ready: {error}"))
                return
        self.restarts += 1
        self.say(
            f"Lost worker {worker.number} (process {worker.pid})"
            + (f"; again: {pending.task.title}" if pending else "")
        )
        for reference in [reference for reference, (_, of) in self._expected.items() if of is worker]:
            del self._expected[reference]
        ray.kill(worker.actor)  # in case it is only out of reach
        self._fill(worker)

    def _look(self) -> None:
        """Now and then asks the workers for their heartbeat, and those who wait whether they still do."""
        now = time.monotonic()
        if now - self._looked < max(HEARTBEAT, self.size / HEARTBEATS):
            return
        self._looked = now
        for worker in self._workers:
            if worker.ready and not worker.watching:
                worker.watching = True
                self._expected[worker.actor.watch.remote()] = ("watch", worker)
        for pending in list(self._queue):
            self._tell(pending, 0)
        if any(worker.ready for worker in self._workers):
            self._alone_since, self._complained = now, False
        elif now - self._alone_since > PATIENCE and not self._complained:
            self._complained = True
            self.say(
                f"No worker is ready yet. Each takes {self.needs}, also while it starts, and {have()}. "
                "Ctrl-C twice gives up."
            )

    def _fail(self, error: BaseException) -> None:
        """Everybody who waits is told of the first error."""
        with self._lock:
            if self._failure is None:
                self._failure = error
            pending_tasks = [*self._queue, *(worker.pending for worker in self._workers if worker.pending)]
            self._queue.clear()
            for worker in self._workers:
                worker.pending = None
        for pending in pending_tasks:
            if not pending.future.done():
                pending.future.set_exception(self._failure)


def _traceback(error: RayTaskError) -> str:
    """As the worker saw it, without Ray's colours and the marks under lines that it leaves out."""
    lines = re.sub("\x1b\\[[0-9;]*m", "", str(error)).strip().splitlines()
    return "\n".join(line for line in lines if line.strip(" ^~"))
