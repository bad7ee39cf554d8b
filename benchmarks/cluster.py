"""Measures how the work spreads over processes, here and now: self-play over Ray, its driver, shared inference.

    benchmarks/cluster.py [workers] [driver] [shared] [options]      all by default

    workers   self-play in this process, by one Ray worker and by two, and by two while this process learns
    driver    the work of the learning process for many workers, which are simulated here
    shared    one process that evaluates for two self-play processes, against two that evaluate for themselves

Everything uses configs/connect_four.toml with random weights. Contenders take turns, as in benchmarks/speed.py. Ray
gives its workers a niceness of 15: on a machine with other work they come last.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import numpy as np
import psutil
import torch
from rich.console import Console

from alphazero.config import Config
from alphazero.game import concatenate
from alphazero.learner import Learner, draw, terciles
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.network.architectures import InferenceModule
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import Counter, Executor, ThreadExecutor
from alphazero.parallel.ray_cluster import Needs, cluster
from alphazero.parallel.ray_executor import RayExecutor
from alphazero.replay import Replay, Samples
from alphazero.report.monitor import Monitor
from alphazero.runs import checkpoint
from alphazero.runs.configuration import load_config
from alphazero.runs.lock import run_lock
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, stream_generator
from alphazero.trainer.asynchronous import AsynchronousLoop
from alphazero.trainer.run import Run
from alphazero.trainer.session import Session
from alphazero.trainer.tasks import PlayedSegment, PlaySegment, make_worker
from benchmarks.harness import Report, Speed, Work, cpu_seconds, in_turns, run_sections, seconds, sections_parser, whole
from benchmarks.shared_inference import shared
from games.connect_four import ConnectFour

GAME = ConnectFour()
RECIPE = load_config(Path(__file__).resolve().parents[1] / "configs" / "connect_four.toml")
ACTOR = 250 * 2**20  # bytes of memory that a simulated worker has for itself: torch and its like


def main() -> int:
    return cli.run(measure)


def measure() -> None:
    sections = {"workers": workers, "driver": driver, "shared": partial(shared, RECIPE)}
    parser = sections_parser(__doc__, list(sections))
    parser.add_argument("--rounds", type=whole, default=3, help="of `workers` and `shared`; the median is shown (3)")
    parser.add_argument("--games", type=whole, default=64, help="workers: games at once of each worker (64)")
    parser.add_argument("--moves", type=whole, default=6, help="workers, shared: moves of a segment (6)")
    parser.add_argument("--simulations", type=whole, default=32, help="workers, shared: simulations a move (32)")
    parser.add_argument(
        "--segments", "--turns", type=whole, default=3, help="workers: segments of each worker in a round (3)"
    )
    parser.add_argument("--simulated", type=whole, default=64, metavar="WORKERS", help="driver: workers (64)")
    parser.add_argument("--offered", type=whole, default=60_000, help="driver: samples/s, at first (60000)")
    parser.add_argument("--window", type=seconds, default=20.0, help="driver: seconds of a measurement (20)")
    parser.add_argument("--rate", type=whole, help="driver: samples/s of a real worker (as `workers` has measured)")
    parser.add_argument("--seconds", type=seconds, default=3.0, help="shared: of a measurement, in each round (3)")
    options = parser.parse_args()
    with ExitStack() as stack:
        if set(options.sections) - {"shared"}:
            # More cores than there may be: of Ray's processes only a few are busy at a time.
            stack.enter_context(cluster("", cores=4))
        run_sections(options, sections)


# --- workers


def workers(options: argparse.Namespace, report: Report) -> None:
    """Samples a second of real self-play, with the executors and tasks of a training run."""
    config = replace(
        RECIPE,
        search=replace(RECIPE.search, simulations=options.simulations),
        self_play=replace(RECIPE.self_play, parallel_games=options.games, moves=options.moves),
    )
    learner = Learner(GAME, config.learner, config.network, seed=0)
    weights = learner.weights()
    exporting = NetworkEvaluators(GAME, engine="onnx")
    exporting(weights)  # here, once and before there are threads, as a session does
    make = partial(make_worker, config, exporting.exported)
    with ExitStack() as stack:
        here = stack.enter_context(ThreadExecutor(make(1), 1))
        one, two = (stack.enter_context(RayExecutor(make, size, Needs(1, 0))) for size in (1, 2))
        alone, pair = (segments_work(config, executor, weights, options.segments) for executor in (one, two))
        study = Study(learner, canned_segment().samples)
        contenders = {
            "in this process": segments_work(config, here, weights, options.segments),
            "one Ray worker": alone,
            "two Ray workers": pair,
            "two Ray workers, and learning in this process": partial(study.beside, two, pair),
        }
        speeds = in_turns(contenders, options.rounds, 0)
    for what, speed in speeds.items():
        report.speed("workers", what, speed, "samples/s")
    report.speed("workers", "the same, and what is learned from meanwhile", study.speed(speeds), "samples/s")
    first, *others = speeds
    for what, promised in zip(others, (0.95, 1.8, None), strict=True):
        report.ratio("workers", f"{what} / {first}", speeds[what].rate / speeds[first].rate, promised=promised)


def segments_work(config: Config, executor: Executor, weights: InferenceModule, segments: int) -> Work:
    """Plays `segments` segments a worker, with one more under way than there are workers, so that none waits."""
    shared = executor.share(weights)
    waiting = deque((stream, 0, games_under_way(config, stream)) for stream in range(executor.size + 1))

    def work() -> int:
        samples, left, under_way = 0, segments * executor.size, {}
        while left or under_way:
            while left and waiting:
                stream, segment, games = waiting.popleft()
                task = PlaySegment(stream, segment, config.search.simulations, games, config.seed)
                under_way[executor.submit(task, shared)] = (stream, segment)
                left -= 1
            for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                stream, segment = under_way.pop(done)
                waiting.append((stream, segment + 1, done.result().games))
                samples += done.result().statistics.moves  # each becomes a sample, once its game has ended
        return samples

    return work


def games_under_way(config: Config, stream: int) -> dict[str, np.ndarray]:
    """Games in all their stages, as a run has them once its first ones have ended."""
    play = SelfPlay(
        GAME, replace(config.search, simulations=2), replace(config.self_play, moves=30), seed=0, stream=stream
    )
    play.play(UniformEvaluator(GAME), 0)
    return play.arrays()


class Study:
    """Learning in this process beside other work."""

    def __init__(self, learner: Learner, samples: Samples) -> None:
        self.learner, self.samples = learner, samples
        self.rates: list[float] = []  # samples a second, of each time

    def beside(self, executor: Executor, work: Work) -> int:
        """Does the work, and learns meanwhile."""
        over = threading.Event()
        learning = executor.local.submit(self.learn, over)
        try:
            return work()
        finally:
            over.set()
            self.rates.append(learning.result())

    def learn(self, over: threading.Event) -> float:
        steps, started, generator = 0, time.perf_counter(), stream_generator(0)
        while not over.is_set():
            self.learner.learn(self.samples, [0.0] * 5, generator)
            steps += 5
        return steps * self.learner.config.batch_size / (time.perf_counter() - started)

    def speed(self, speeds: dict[str, Speed]) -> Speed:
        return Speed(float(np.median(self.rates[1:])), [*speeds.values()][-1].cores)  # the first time warms up


# --- driver


def driver(options: argparse.Namespace, report: Report) -> None:
    """A training run's loop, executor, buffer and checkpoints, fed by workers that only pretend to play."""
    segment = canned_segment()
    actors = max(1, min(options.simulated, int(0.8 * psutil.virtual_memory().available / ACTOR)))
    with RayExecutor(partial(simulate, segment), actors, Needs(0.01, 0)) as executor:
        executor.submit(PlaySegment(0, 0, 1, segment.games, 0), None).result()  # raises if they cannot start
        while len(executor.pids()) < actors:
            time.sleep(0.1)
        memory = psutil.Process(executor.pids()[0]).memory_full_info()
        offered, spans = float(options.offered), {}
        while True:  # more and more, until it cannot follow
            spans[offered] = drive(executor, segment, actors * segment.samples.size / offered, options.window)
            if spans[offered].own.rate < 0.95 * offered:
                break
            offered *= 1.5
    for offered, span in spans.items():
        what = f"of {offered:,.0f} samples/s that are offered"
        report.speed("driver", f"{what}, by the driver's cores", span.own, "samples/s")
        report.speed("driver", f"{what}, by all processes' cores", span.all, "samples/s")
    most = max(spans.values(), key=lambda span: span.own.rate)
    report.ratio("driver", "samples/s taken in / 50,000", most.own.rate / 50_000, promised=1.0)
    for part, share in most.parts.items():
        report.ratio("driver", f"driver's CPU time then: {part}", share)
    measured = [speed["rate"] for speed in report.speeds if speed["what"] == "one Ray worker"]
    report.notes += [
        f"driver: {actors} processes stood for {options.simulated} workers ({memory.uss / 2**20:.0f} MB each, not "
        f"counting what they share). They sleep for as long as a segment takes and then send one of "
        f"{segment.samples.size:,} samples that was played beforehand. The driver is real: executor, loop, a full "
        "buffer, batches drawn at the recipe's replay ratio, weights handed out, checkpoints on this disk. Only the "
        "network's steps are left out.",
        f"driver: a second of its CPU time takes in {most.own.rate / most.own.cores:,.0f} samples, also where it gets "
        f"less than a core; what takes most of that is: {next(iter(most.parts))}",
        *(
            f"driver: saturates at about {most.own.rate / rate:,.0f} workers of {rate:,.0f} samples/s each on this "
            f"machine, which they share; with a core to itself at about {most.own.rate / most.own.cores / rate:,.0f}"
            for rate in [options.rate or sum(measured)]
            if rate
        ),
    ]


def canned_segment() -> PlayedSegment:
    """A segment of the recipe's size and shape, of games that were played without a network."""
    config = RECIPE.self_play
    play = SelfPlay(GAME, replace(RECIPE.search, simulations=2), replace(config, cache=0), seed=0, stream=0)
    segments = [play.play(UniformEvaluator(GAME), number) for number in range(3)]
    samples = concatenate([segment.samples for segment in segments]).at(slice(config.parallel_games * config.moves))
    counts = SelfPlayStatistics(moves=samples.size, samples=samples.size)
    return PlayedSegment(samples, counts, segments[-1].game, play.arrays())


def simulate(segment: PlayedSegment, threads: int) -> None:
    """Makes this process a simulated worker: it takes a millisecond a segment for each simulation a move.

    The time varies, or all would always come at once. The games under way go back as they came.
    """

    def run(task: PlaySegment, worker: None, count: Counter, weights: InferenceModule) -> PlayedSegment:
        time.sleep(task.simulations / 1000 * random.uniform(0.5, 1.5))
        count(segment.statistics.moves)
        return segment._replace(games=task.games)

    PlaySegment.run = run  # the driver knows nothing of it: its tasks are the real ones


class Span(NamedTuple):
    """The driver's measurements over a window of time.

    own, all: samples a second, and the cores of the driver's process or of all, the workers and Ray's own among them.
    parts:    of the driver's CPU time, the largest first.
    """

    own: Speed
    all: Speed
    parts: dict[str, float]


def drive(executor: RayExecutor, segment: PlayedSegment, nap: float, window: float) -> Span:
    """Runs until `window` seconds and a whole number of iterations, two or more, are over. The first does not count."""
    config = replace(
        RECIPE,
        minutes=0.0,
        iterations=1_000_000,  # the window ends it
        workers=executor.size,
        search=replace(RECIPE.search, simulations=max(1, round(1000 * nap))),  # see `simulate`
        self_play=replace(RECIPE.self_play, streams=executor.size + 1, first_simulations=0),
        evaluation=replace(RECIPE.evaluation, opponents=(), every=0),
        cluster=replace(RECIPE.cluster, mode="asynchronous"),
    )
    account = Account()
    learner, replay = Learner(GAME, config.learner, config.network, seed=config.seed), Replay(GAME, config.replay)
    while len(replay) < config.replay.window:
        replay.extend(segment.samples)
    streams = [
        SelfPlay(GAME, config.search, config.self_play, seed=config.seed, stream=number)
        for number in range(config.self_play.streams)
    ]
    drawing = Drawing(config, account)
    run = Run(GAME, config, learner, replay, streams, executor, drawing.learn)
    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w", encoding="utf-8") as nowhere:
        folder = Path(name) / "run"
        checkpoint.create_run(folder, config)
        with (
            run_lock(folder, say=print) as lock,
            Monitor(folder, iterations=1, first_iteration=0, console=Console(file=nowhere)) as monitor,
        ):
            session = Session(run, folder, NetworkEvaluators(GAME, engine="onnx"), monitor, None, lock)
            observer = MarkingObserver(session, drawing, account, window)
            loop = AsynchronousLoop(run, observer)
            account.time(loop, "take_in_the_next", "segments taken in")
            account.time(loop, "hand_out", "weights handed out")
            account.time(replay, "extend", "the buffer extended")
            try:
                while run.going_on:
                    loop.iterate()
            finally:
                loop.segments.close()
    first, last = observer.marks[0], observer.marks[-1]
    elapsed, own, everybody = last.time - first.time, last.own - first.own, last.everybody - first.everybody
    # Samples that are taken in and not learned from in time pile up: they do not count.
    rate = min(last.samples - first.samples, last.learned - first.learned) / elapsed
    parts = {part: spent / own for part, spent in (last.parts - first.parts).most_common()}
    parts["the rest: Ray's threads, and waking up"] = 1 - sum(parts.values())
    return Span(Speed(rate, own / elapsed), Speed(rate, everybody / elapsed), parts)


class Mark(NamedTuple):
    """Totals since the beginning.

    samples, learned: taken in, and worth the batches that were drawn.
    own, everybody:   CPU seconds of this process and of all.
    parts:            of the former.
    """

    time: float
    samples: int
    learned: float
    own: float
    everybody: float
    parts: Counts[str]


class Account:
    """CPU seconds of this process, by the part of the work."""

    def __init__(self) -> None:
        self.spent: Counts[str] = Counts()
        self.of_thread = threading.local()

    def copy(self) -> Counts[str]:
        """The seconds spent so far, including the executor's thread."""
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "ray executor")
        assert thread.ident is not None
        seconds = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return self.spent + Counts({"segments sent, outcomes fetched, heartbeats": seconds})

    def time(self, owner: object, method: str, part: str) -> None:
        """From now on the method's CPU time is added to that of the part."""
        setattr(owner, method, self.timed(getattr(owner, method), part))

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function; its CPU time, less that of timed ones within, is added to that of the part."""

        def call(*arguments: Any, **knobs: Any) -> Any:
            started, outer = time.thread_time(), getattr(self.of_thread, "inner", 0.0)
            self.of_thread.inner = 0.0
            try:
                return function(*arguments, **knobs)
            finally:
                spent = time.thread_time() - started
                self.spent[part] += spent - self.of_thread.inner
                self.of_thread.inner = outer + spent

        return call


class Drawing:
    """Draws a learner's batches, and learns nothing."""

    def __init__(self, config: Config, account: Account) -> None:
        self.config, self.account, self.steps = config, account, 0

    def learn(
        self, samples: Samples, rates: list[float], generator: torch.Generator, *, progress: Callable[[int], None]
    ) -> dict[str, float]:
        """`Learner.learn` without the network's work."""
        self.account.timed(terciles, "thirds of the buffer found")(samples)
        draw_timed = self.account.timed(draw, "batches drawn")
        for _rate in rates:
            draw_timed(GAME, samples, self.config.learner.batch_size, generator)
            self.steps += 1
            progress(1)
        return {"learner/steps": len(rates), "learner/seconds": 0.0}


class MarkingObserver:
    """Passes all calls to a session, marks every iteration, and ends the run after `window` seconds."""

    def __init__(self, session: Session, drawing: Drawing, account: Account, window: float) -> None:
        self.session, self.drawing, self.account, self.window = session, drawing, account, window
        self.matches_due = session.matches_due
        part = "iterations closed: checkpoints, figures"
        self.iteration_over = account.timed(session.iteration_over, part)
        self.save_timed = account.timed(session.save, part)
        self.marks: list[Mark] = []

    def save(self) -> None:
        self.save_timed()
        config = self.drawing.config.learner
        learned = self.drawing.steps * config.batch_size / config.replay_ratio
        spent = time.process_time(), cpu_seconds(), self.account.copy()
        self.marks.append(Mark(time.perf_counter(), self.session.run.replay.seen, learned, *spent))
        if len(self.marks) > 1 and self.marks[-1].time - self.marks[0].time >= self.window:
            self.session.run.control.stop.set()


if __name__ == "__main__":
    sys.exit(main())
