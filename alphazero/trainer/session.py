"""A training session: makes or restores a run in its folder, drives its loop, saves, measures, shows and stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console

from alphazero.arena.evaluation import EvaluationMatches, PlayMatch, Results, evaluation_matches, scalars_of
from alphazero.arena.opponents import fitting_opponents
from alphazero.arena.players import parse_player
from alphazero.config import Config, ConfigError
from alphazero.game import Game, take
from alphazero.game.loading import is_loaded_as
from alphazero.game.pace import rules_seconds, slow_rules
from alphazero.learner import Learner
from alphazero.network.architectures import with_weights
from alphazero.network.conformance import check_own_network
from alphazero.network.engines import at_hand, with_engines
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import Executor, ExecutorError, ThreadExecutor, available_cores
from alphazero.replay import Replay
from alphazero.report.events import Compared
from alphazero.report.fixed_positions import FixedPositions
from alphazero.report.monitor import Monitor
from alphazero.report.trackers import tracking
from alphazero.runs import checkpoint, files, trust
from alphazero.runs.agents import export_agent
from alphazero.runs.checkpoint import Progress
from alphazero.runs.configuration import check_fit, differences
from alphazero.runs.lock import RunLock, run_lock
from alphazero.runs.metrics import buffer_scalars, read_history, self_play_scalars
from alphazero.runs.mirror import Mirror, mirrored
from alphazero.selfplay import SelfPlay, SelfPlayStatistics
from alphazero.shell import loading
from alphazero.shell.commands import python_command, script_command
from alphazero.shell.signals import on_signals
from alphazero.trainer import asynchronous, synchronous
from alphazero.trainer.budget import Budget, NetworkTooWide
from alphazero.trainer.plan import resumed
from alphazero.trainer.run import Control, Iteration, Learn, Run, Stopped
from alphazero.trainer.tasks import Worker, make_worker

# Is told how many iterations there are so far, and the metrics of the last one by tag.
Callback = Callable[[int, Mapping[str, float]], None]


def no_callback(iteration: int, scalars: Mapping[str, float]) -> None:
    """The callback of those who want none."""


def train_run(
    game: Game,
    config: Config,
    folder: Path,
    *,
    saved: Config | None = None,
    console: Console | None = None,
    callback: Callback = no_callback,
) -> tuple[Session, Results]:
    """Trains a run in the folder, see `open_session`, and returns its session, which is over, with its results.

    callback: called after each iteration, once it is saved, with the number of iterations so far and the metrics of the
              last one. If it raises StopIteration, the run stops there, as after Ctrl-C; as `scipy.optimize.minimize`.
    """
    began = None
    while True:
        try:
            with open_session(game, config, folder, saved=saved, console=console, began=began) as session:
                return session, session.train(callback)
        except NetworkTooWide as found:
            if console:
                console.print(f"{found}; beginning anew")
            config, began = replace(config, network=found.network), found.began


@contextmanager
def open_session(
    game: Game,
    config: Config,
    folder: Path,
    *,
    saved: Config | None = None,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
    began: float | None = None,
    compared: Compared | None = None,
) -> Iterator[Session]:
    """A session of a new run in the folder, or of the run that is there and was saved with the configuration `saved`.

    clock: seconds, which count towards `minutes` from `began` on, or from now.
    compared: what TensorBoard compares it with other runs by; None: all settings.
    ConfigError if game and configuration do not fit or a device is missing, RunError if the folder cannot be used.
    """
    began = clock() if began is None else began
    if saved:
        config = at_hand(game, config)
        trust.allow_network(folder / files.CONFIG, config.network)
    try:
        check_fit(game, config)
        config = with_engines(game, config)
        if config.network.own:
            check_own_network(game, config)
        check_opponents(game, config)
        learner, replay = Learner(game, config.learner, config.network, seed=config.seed), Replay(game, config.replay)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    # In this process streams only wait for their next segment, so they need no GPU if the workers have GPUs.
    waiting = replace(config.self_play, device="cpu") if config.distributed else config.self_play
    streams = [
        SelfPlay(game, config.search, waiting, seed=config.seed, stream=number)
        for number in range(config.self_play.streams)
    ]
    notices = [
        f"{config.network.kind} has options of its own: network.{name} does not reach it"
        for name in config.network.unused
    ]
    session = None
    if not saved:
        checkpoint.create_run(folder, config)
    try:
        with run_lock(folder, say=notices.append) as lock, ExitStack() as stack:
            if saved:
                config, progress = _restored(game, config, folder, saved, learner, replay, streams, say=notices.append)
            else:
                progress = Progress()
                if is_loaded_as(config.game, game):
                    trust.trust(folder, config.game)
                if config.network.own:  # it has been imported
                    trust.trust(folder, config.network.kind, trust.NETWORKS)
            evaluators = NetworkEvaluators(game, engine="onnx")
            first, units = progress.iteration, game.metric_units
            track = stack.enter_context(tracking(game.name, config, folder))
            monitor = Monitor(
                folder, iterations=config.iterations, first_iteration=first, console=console, units=units, clock=clock,
                compared=compared, track=track,
            )  # fmt: skip
            loading.over()
            for notice in (*notices, f"{'Continuing' if saved else 'Training'} {game.name} in {folder}"):
                monitor.say(notice)
            monitor.say(f"Engines: {config.self_play.engine} for self-play, {config.learner.precision} for learning")
            monitor.say(f"Watch it with: {python_command('-m', 'tensorboard.main', '--logdir', folder.parent)}")
            monitor.say("  at http://localhost:6006/#custom_scalars, strength first")
            # Exporting to ONNX switches oneDNN off for the whole process while it lasts, which would change the last
            # bits of what another thread computes: so it comes before there are other threads.
            evaluators(learner.weights())
            control = Control(monitor.start, monitor.advance)
            with (
                monitor,
                mirrored(folder, config.cluster.mirror, say=monitor.say, give_up=control.stop_now.is_set) as mirror,
                executor_of(game, config, learner, evaluators, folder, monitor) as (executor, learn),
            ):
                run = Run(game, config, learner, replay, streams, executor, learn, progress, control)
                session = Session(run, folder, evaluators, monitor, mirror, lock, clock=clock, began=began)
                yield session
    except (ConfigError, NetworkTooWide, Stopped, KeyboardInterrupt, ExecutorError) as error:
        failed = session is not None and isinstance(error, ExecutorError)  # in the midst of the run: its words may help
        if not failed and not checkpoint.checkpoints(folder):  # nothing to go on from, and in the way of a next try
            files.remove(folder)
        raise


def _restored(
    game: Game, config: Config, folder: Path, saved: Config, learner: Learner, replay: Replay,
    streams: Sequence[SelfPlay], *, say: Callable[[str], None],
) -> tuple[Config, Progress]:  # fmt: skip
    """Loads the run that was saved with the configuration `saved`, and writes down the one that it goes on with."""
    if not is_loaded_as(config.game, game):  # workers would import it
        trust.check(folder / files.CONFIG, config.game)
    progress = checkpoint.restore(folder, game, learner, replay, streams, say=say)
    if not progress.seconds:  # an older version saved it, which wrote down the seconds of iterations alone
        rows = read_history(folder / files.METRICS)
        seconds = sum(rows[i].get("time/iteration", 0.0) for i in rows if i < progress.iteration)
        progress = progress._replace(seconds=seconds)
    if config.iterations < progress.iteration and not config.minutes:
        raise ConfigError(f"{folder} has {progress.iteration} iterations behind it; --iterations must be at least that")
    for difference in differences(saved, config):
        say(f"changed {difference}")
    config = resumed(saved, config, progress.iteration, progress.seconds)
    checkpoint.write_config(folder, config)
    checkpoint.prune_checkpoints(folder, every=config.evaluation.every, thorough=True)  # a kill may have come before
    return config, progress


def check_opponents(game: Game, config: Config) -> None:
    """ValueError unless all opponents can play this game."""
    for opponent in config.evaluation.opponents:
        try:
            parse_player(opponent, game, seed=config.seed)
        except ValueError as error:
            raise ValueError(f"`evaluation.opponents`: {error}") from error


class Session:
    """The observer of a run (`run.Observer`), and what drives it."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        evaluators: NetworkEvaluators,
        monitor: Monitor,
        mirror: Mirror | None,
        lock: RunLock,
        *,
        clock: Callable[[], float] = time.monotonic,
        began: float | None = None,
    ) -> None:
        """clock, began: as for `Budget`."""
        self.run, self.folder, self.evaluators, self.monitor, self.mirror = run, folder, evaluators, monitor, mirror
        self.lock = lock
        self.budget = Budget(run, folder, monitor, clock=clock, began=began)
        self._planning = self._measuring = False
        self._callback: Callback = no_callback
        self._say_stopping: Callable[[str], None] = monitor.say
        self._warned: set[str] = set()
        states = run.streams[0].state
        pace = rules_seconds(run.game, states)
        # A simulation asks who moves before and after its step; `observe` counts as inference.
        self._rules = sum(pace.values()) + pace["to_play"] - pace["observe"]
        if hint := slow_rules(run.game, rules_seconds(run.game, take(states, torch.arange(128) % len(states[0])))):
            monitor.say(hint)
        self.fixed_positions = FixedPositions(run.game, run.config, folder)
        self.matches = EvaluationMatches(run.game, run.config, run.executor, run.control.check, monitor)

    def train(self, callback: Callback = no_callback, *, say_stopping: Callable[[str], None] | None = None) -> Results:
        """Trains until the configuration's end, and returns the trained agent's results.

        They are empty without opponents in a game for two, and if the run was stopped before its end: then the
        iteration under way is finished and saved first.

        callback:     see `train_run`.
        say_stopping: is told when the run is asked to stop; None: the monitor alone is.
        """
        run, self._callback = self.run, callback
        self._say_stopping = say_stopping or self._say_stopping
        loop = asynchronous.train if run.config.cluster.mode == "asynchronous" else synchronous.train
        with on_signals(self._asked_to_stop), run.executor, run.control.ending():
            self._planning = True
            self.budget.begin(self._matches)
            self._planning = False
            loop(run, self)
            config = run.config
            self._record_matches(wait=True)
            self._export()
            if run.control.stop.is_set():
                run.control.stop_now.set()  # ends matches under way
                return {}
            if not (config.evaluation.opponents or run.game.num_players == 1):
                return {}
            self._measuring = True
            self.monitor.start(config.iterations, {})
            self.monitor.say("Measuring the trained agent ...")
            weights = run.executor.share(run.learner.weights())
            last = config.iterations - 1
            try:
                self.matches.start(last, weights, self.opponents, games=2 * config.evaluation.games)
                self.matches.wait(run.control.stop_now.is_set)
                results = self.matches.take().get(last, {})
            except Stopped:
                return {}
            self.monitor.record(last, scalars_of(results))
            return results

    @cached_property
    def opponents(self) -> list[str]:
        """The configuration's opponents that fit the game and what the run has taken so far."""
        run, evaluation = self.run, self.run.config.evaluation
        if run.game.num_players == 1:
            return []
        matches = 2 + (run.config.iterations // evaluation.every if evaluation.every else 0)  # the last counts twice
        if run.config.minutes:
            limit = evaluation.time_share * 60 * run.config.minutes * run.executor.size
        else:
            seconds = run.progress.core_seconds / max(1, run.progress.iteration) * run.config.iterations
            limit = max(60, evaluation.time_share * seconds)
        return list(
            fitting_opponents(
                run.game, evaluation.opponents, games=2 * matches * evaluation.games,
                limit=limit, say=self.monitor.say, check=run.control.check,
            )
        )  # fmt: skip

    def _matches(self) -> dict[str, PlayMatch]:
        """The matches of an evaluation during the run."""
        config = self.run.config
        return evaluation_matches(self.run.game, config, self.opponents, games=config.evaluation.games)

    def matches_due(self, iteration: int, weights: Any) -> None:
        if self._due(iteration):
            self.matches.start(iteration, weights, self.opponents, games=self.run.config.evaluation.games)

    def iteration_over(self, iteration: Iteration) -> None:
        """Saves the iteration's games, and records and reports its metrics."""
        self.lock.check()
        run, number, statistics = self.run, iteration.number, iteration.statistics
        checkpoint.save_games(self.folder, number, iteration.games)
        learning_seconds = iteration.scalars.pop("learner/seconds", 0.0)
        alone = run.game.num_players == 1
        scalars = iteration.scalars | self_play_scalars(statistics, learning_seconds, iteration.seconds, alone=alone)
        rules = self._rules * statistics.simulations / max(1e-9, statistics.seconds + learning_seconds)
        scalars["time/rules"] = min(rules, scalars["time/tree"])
        scalars["time/tree"] -= scalars["time/rules"]
        scalars |= buffer_scalars(run.replay, number)
        scalars |= self._record_matches(number, wait=run.config.cluster.mode == "synchronous")
        scalars |= {"self_play/simulations": float(run.simulations(number))}
        scalars |= {"time/iteration": iteration.seconds, "time/core_seconds": run.progress.core_seconds}
        self._warn(number, statistics)
        scalars |= run.executor.scalars() | {"memory/resident_mb": psutil.Process().memory_info().rss / 2**20}
        self.monitor.record(number, scalars)
        self.budget.iteration_over(number, round(scalars.get("learner/steps", 0.0)), evaluated=self._due(number))
        self.monitor.report(number, scalars)

    def _warn(self, iteration: int, statistics: SelfPlayStatistics) -> None:
        """Says, once each time it comes to that, that no game ended, and that values do not reach as far as returns."""
        play, warned = self.run.config.self_play, self._warned
        self._warned = {
            name for name, holds in (("endless", not statistics.games), ("beyond", statistics.beyond)) if holds
        }
        if "endless" in self._warned - warned:
            longest = max(int(stream.moves_played.max()) for stream in self.run.streams)
            self.monitor.say(
                f"No game ended in iteration {iteration + 1}, so there is nothing new to learn from. The longest has "
                f"{longest:,} moves, and ends after self_play.max_moves = {play.max_moves:,} at the latest"
            )
        if "beyond" in self._warned - warned:
            self.monitor.say(
                f"{statistics.beyond:,} of {statistics.games:,} games had returns beyond -1 or 1, where values end: "
                f"nothing tells these from one another. Have the `step` of {self.run.game.name} divide its rewards"
            )

    def save(self) -> None:
        """Writes a checkpoint, and now and then the agent and its evaluation of the fixed positions."""
        self.lock.check()
        run, done = self.run, self.run.progress.iteration
        if self._due(done) or done == run.config.iterations:  # before the checkpoint, after which nobody would do it
            self._export()
            self.fixed_positions.show(done - 1, self.evaluators(run.learner.weights()), self.monitor)
        progress = run.progress._replace(seconds=self.budget.spent)
        checkpoint.save_checkpoint(self.folder, run.game, progress, run.learner, run.replay, run.streams)
        checkpoint.prune_checkpoints(self.folder, every=run.config.evaluation.every)
        checkpoint.prune_games(self.folder, every=run.config.evaluation.every)
        if self.mirror:
            self.mirror.update()
        try:
            self._callback(done, self.monitor.history.get(done - 1, {}))
        except StopIteration:
            run.control.stop.set()

    def _due(self, iteration: int) -> bool:
        every = self.run.config.evaluation.every
        return every > 0 and iteration > 0 and iteration % every == 0

    def _record_matches(self, current: int | None = None, *, wait: bool) -> dict[str, float]:
        """The scalars of the current iteration's matches; records those of earlier iterations that have ended.

        wait: until all have ended, or the run is asked to stop.
        """
        if wait:
            self.matches.wait(self.run.control.stop.is_set)
        found = {iteration: scalars_of(results) for iteration, results in self.matches.take().items()}
        for iteration in found.keys() - {current}:
            self.monitor.record(iteration, found[iteration])
            self.monitor.report(iteration, found[iteration])
        return found.get(current, {}) if current is not None else {}

    def _export(self) -> None:
        """Writes agent.onnx and agent.json."""
        assert self.evaluators.exported is not None
        run = self.run
        model = with_weights(self.evaluators.exported, run.learner.weights())
        export_agent(self.folder, run.game, run.config, model, iteration=run.progress.iteration)

    def _asked_to_stop(self) -> None:
        """Stops after this iteration, or at once if asked again; measuring the trained agent stops at once."""
        control = self.run.control
        if self._measuring:
            control.stop_now.set()
            text = "Stopping: the agent is saved, but stays unmeasured ..."
        elif control.stop.is_set() or self._planning:
            control.stop_now.set()
            text = "Stopping at once ..."
        else:
            control.stop.set()
            text = "Stopping after this iteration (Ctrl-C again stops at once and loses it) ..."
        # Another thread says it: this one may hold a lock of the display, which saying it needs.
        threading.Thread(target=self._say_stopping, args=(text,)).start()


@contextmanager
def executor_of(
    game: Game, config: Config, learner: Learner, evaluators: NetworkEvaluators, folder: Path, monitor: Monitor
) -> Iterator[tuple[Executor, Learn]]:
    """The executor of the run's tasks, and `learn`: threads of this process, or Ray's workers and ranks."""
    if not config.distributed:
        worker = Worker(game, config, evaluators.exported)
        yield ThreadExecutor(worker, config.threads or available_cores()), learner.learn
        return
    from alphazero.parallel.ray_setup import ray_executor  # Ray is loaded only if it is used

    make, log = partial(make_worker, config, evaluators.exported), folder / files.RAY_LOG
    fix = f"every iteration that was saved is intact: {script_command('train.py', '--resume', folder)}"
    with ray_executor(config, make, learner, log=log, say=monitor.say, fix=fix) as both:
        yield both
