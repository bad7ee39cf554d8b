"""The training loop: self-play, learning, measuring, saving.

Self-play of an iteration overlaps learning on the iterations before it. All tasks of an iteration
- the learning, the streams of self-play, now and then a match - read what the iteration before
left and share nothing while they run. So whoever does them, threads of this process or workers
on many machines (`alphazero.parallel.executor`), may take them in any order, and the result does not depend on
timing. (ONNX Runtime, torch and the kernels release the interpreter's lock while they compute.)
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import psutil
import torch
from torch import Tensor

from alphazero.arena.match import MatchResult, SoloResult
from alphazero.arena.players import parse_player
from alphazero.config import Config
from alphazero.game import Discrete, Game, State, concatenate, masked, take
from alphazero.learner import Learner
from alphazero.mcts.planning import likeliest
from alphazero.network.architectures import with_weights
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import Crew, Threads, available_cores
from alphazero.replay import Replay, join
from alphazero.report.monitor import Monitor
from alphazero.report.position_figures import board_figure, policy_heatmap
from alphazero.runs import checkpoint, files
from alphazero.runs.agents import export_agent
from alphazero.runs.checkpoint import Progress
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, fresh_starts, stream_generator
from alphazero.trainer.tasks import PlayedTurn, PlayMatch, PlayTurn, Worker

# Numbers that set the seeds of these apart from those of the streams, which count from 0.
LEARNING, POSITIONS = 1_000_001, 1_000_002


class Stopped(Exception):
    """Training was asked to stop at once; the last checkpoint stands."""


class Training:
    """A run: what it is made of, and the loop that drives it."""

    def __init__(self, game: Game, config: Config, folder: Path) -> None:
        """ValueError if the game and the configuration do not fit, or a device is not there."""
        self.game, self.config, self.folder = game, config, folder
        check_devices(config)
        if config.self_play.cache and torch.device(config.self_play.device).type != "cpu":
            raise ValueError(
                "the cache of evaluations lives on the CPU; set self_play.cache = 0 for self-play elsewhere"
            )
        if game.num_players != 2 and config.evaluation.opponents:
            raise ValueError(f"{game.name} is a game for one: nobody can oppose it; set evaluation.opponents = []")
        if config.search.refine_steps and isinstance(game.actions, Discrete):
            raise ValueError(f"{game.name} has discrete actions, which cannot be refined; set search.refine_steps = 0")
        if config.replay.merge != "none" and not isinstance(game.actions, Discrete):
            raise ValueError(
                f"{game.name} has continuous actions, which are sampled anew in each position, so that positions "
                'cannot be merged; set replay.merge = "none"'
            )
        if config.replay.merge != "none" and game.key(game.initial(1)) is None:
            raise ValueError(f'{game.name} has no `key` to tell equal positions by; set replay.merge = "none"')
        for opponent in config.evaluation.opponents:
            parse_player(opponent, game, seed=config.seed)
        self.learner = Learner(game, config.learner, config.network, seed=config.seed)
        self.learn = self.learner.learn  # or that of a gang, which brings the learner on with other machines' help
        self.after_saving: Callable[[], None] = lambda: None  # is told of every checkpoint
        self.replay = Replay(game, config.replay)
        # Here streams only wait for their next turn, so with workers that have GPUs they need none.
        waiting = replace(config.self_play, device="cpu") if config.distributed else config.self_play
        self.streams = [
            SelfPlay(game, config.search, waiting, seed=config.seed, stream=number)
            for number in range(config.self_play.streams)
        ]
        self.judges = NetworkEvaluators(game, engine="onnx")
        # Exporting to ONNX switches oneDNN off for the whole process while it lasts, which would
        # change the last bits of what another thread computes: so before there are any.
        self.judges(self.learner.weights())
        self.progress = Progress()
        self.stop, self.stop_now = threading.Event(), threading.Event()
        self.positions = fixed_positions(game, config)
        self.policies: dict[str, np.ndarray] = {}  # of the fixed positions, by iteration
        if (folder / files.POLICIES).exists():
            with files.reading(folder / files.POLICIES):
                self.policies = files.read_arrays(folder / files.POLICIES)

    def run(self, monitor: Monitor, crew: Crew | None = None) -> dict[str, MatchResult | SoloResult]:
        """Trains until the configuration's end; returns how the agent then fares, see `_start_matches`.

        Empty without opponents in a game for two, or if it was asked to stop before the end: then the iteration under
        way is finished and saved first. crew: who does the work; None: threads of this process.
        """
        self.monitor = monitor
        self.crew = crew or self._threads()
        with self.crew, self._signals(), self._ending():
            self.iterate()
            self._export()
            if self.stop.is_set() or not (self.config.evaluation.opponents or self.game.num_players == 1):
                return {}
            monitor.say("Measuring the trained agent ...")
            weights = self.crew.share(self.learner.weights())
            matches = self._start_matches(weights, games=2 * self.config.evaluation.games)
            results = {tag: match.result() for tag, match in matches.items()}
            monitor.record(self.config.iterations - 1, strength_scalars(results))
            return results

    def _threads(self) -> Crew:
        worker = Worker(self.game, self.config, self.judges.exported)
        return Threads(worker, self.config.threads or available_cores())

    def iterate(self) -> None:
        """The loop."""
        while self.progress.iteration < self.config.iterations and not self.stop.is_set():
            started, iteration = time.monotonic(), self.progress.iteration
            self._announce()
            weights = self.crew.share(self.learner.weights())
            learning = self.crew.local.submit(self._learn)
            matches = self._start_matches(weights) if self._due(iteration) else {}
            turns = [self._start_turn(stream, weights) for stream in self.streams]
            losses, played = learning.result(), [turn.result() for turn in turns]
            for stream, turn in zip(self.streams, played, strict=True):
                stream.load(turn.games)
            self.replay.extend(join([turn.samples for turn in played]))
            statistics = sum((turn.statistics for turn in played), SelfPlayStatistics())
            recorded = {stream: turn.game for stream, turn in enumerate(played) if turn.game}
            checkpoint.save_games(self.folder, iteration, recorded)
            results = {name: match.result() for name, match in matches.items()}
            self._finish(losses, statistics, results, statistics.samples, seconds=time.monotonic() - started)

    def _learn(self) -> dict[str, float]:
        """Learns for as many steps as the last iteration's new samples ask for."""
        config, iteration = self.config, self.progress.iteration
        steps = self._steps()
        if steps == 0:
            return {}
        return self.learn(
            self.replay.training_set(),
            steps,
            stream_generator(config.seed, LEARNING, iteration),
            progress_from=iteration / config.iterations,
            progress_to=(iteration + 1) / config.iterations,
            progress=partial(self._count, "learning"),
        )

    def _steps(self) -> int:
        return round(self.config.learner.replay_ratio * self.progress.new_samples / self.config.learner.batch)

    def _start_turn(self, stream: SelfPlay, weights: object) -> Future[PlayedTurn]:
        turn = PlayTurn(stream.seed[1], stream.turns, self._simulations(), stream.arrays(), self.config.seed)
        return self.crew.submit(turn, weights, count=partial(self._count, "self-play"))

    def _simulations(self) -> int:
        """A move's, in this iteration: early games teach little whatever the search, late ones more with more of it."""
        last = self.config.search.simulations
        first = self.config.self_play.first_simulations or last
        return round(first + (last - first) * self.progress.iteration / self.config.iterations)

    def _start_matches(
        self, weights: object, *, games: int | None = None
    ) -> dict[str, Future[MatchResult | SoloResult]]:
        """Matches against each opponent, all from the same openings; in a game for one, games alone.

        By tag: strength/OPPONENT for the agent, network/OPPONENT for its network alone.
        """
        config = self.config.evaluation
        opponents = config.opponents if self.game.num_players == 2 else (None,)
        matches = [
            PlayMatch(role, opponent, number, games or config.games)
            for number, opponent in enumerate(opponents)
            for role in ("strength", "network")
        ]
        return {match.tag: self.crew.submit(match, weights, count=self._check) for match in matches}

    def _due(self, iteration: int) -> bool:
        every = self.config.evaluation.every
        return every > 0 and iteration > 0 and iteration % every == 0

    def _finish(
        self,
        losses: dict[str, float],
        statistics: SelfPlayStatistics,
        results: dict[str, MatchResult | SoloResult],
        new_samples: int,
        *,
        seconds: float,
    ) -> None:
        """Writes down what the iteration brought, and saves. new_samples: that the next learning is measured by."""
        iteration, learning_seconds = self.progress.iteration, losses.pop("learner/seconds", 0.0)
        core_seconds = self.progress.core_seconds + statistics.seconds + learning_seconds
        alone = self.game.num_players == 1
        scalars = losses | self_play_scalars(statistics, learning_seconds, seconds, alone=alone)
        scalars |= self._buffer_scalars()
        scalars |= strength_scalars(results)
        scalars |= {"self_play/simulations": float(self._simulations())}
        scalars |= {"time/iteration": seconds, "time/core_seconds": core_seconds}
        scalars |= self.crew.scalars() | {"memory/resident_mb": psutil.Process().memory_info().rss / 2**20}
        self.monitor.record(iteration, scalars)
        self.monitor.report(iteration, scalars)
        self.progress = Progress(iteration + 1, new_samples, core_seconds)
        checkpoint.save_checkpoint(self.folder, self.game, self.progress, self.learner, self.replay, self.streams)
        checkpoint.prune_checkpoints(self.folder, every=self.config.evaluation.every)
        self.after_saving()
        if self._due(iteration + 1) or iteration + 1 == self.config.iterations:
            self._show(iteration)

    def _show(self, iteration: int) -> None:
        """Exports the agent, and draws what it thinks of a few fixed positions."""
        self._export()
        evaluation = self.judges(self.learner.weights())(self.positions, torch.Generator())
        if not isinstance(self.game.actions, Discrete):
            self._show_actions(iteration, likeliest(self.game, self.positions, evaluation))
            return
        policies = masked(evaluation.logits, self.game.legal(self.positions)).softmax(-1)
        self.policies[str(iteration)] = policies.numpy()
        with files.clear_errors(self.folder):
            files.save_arrays(self.folder / files.POLICIES, self.policies)
        history = {int(then): policies for then, policies in self.policies.items() if int(then) <= iteration}
        self.monitor.figure(iteration, "policy/fixed_positions", policy_heatmap(self.game, history))
        for number in range(len(policies)):
            position = take(self.positions, slice(number, number + 1))
            figure = board_figure(self.game, position, policies[number], float(evaluation.value[number]))
            self.monitor.figure(iteration, f"position/{number}", figure)

    def _show_actions(self, iteration: int, actions: Tensor) -> None:
        """What the network's likeliest actions do at the fixed positions, if the game can draw it."""
        for number in range(len(actions)):
            one = slice(number, number + 1)
            figure = self.game.picture(take(self.positions, one), actions[one])
            if figure is not None:
                self.monitor.figure(iteration, f"position/{number}", figure)

    def _export(self) -> None:
        """Writes agent.onnx and agent.json."""
        assert self.judges.exported is not None
        model = with_weights(self.judges.exported, self.learner.weights())
        export_agent(self.folder, self.game, self.config, model, iteration=self.progress.iteration)

    def _buffer_scalars(self) -> dict[str, float]:
        samples, distinct = self.replay.samples, self.replay.distinct()
        if samples is None:
            return {}
        scalars = {
            "buffer/samples": float(samples.size),
            "buffer/window": float(self.replay.window),
            "buffer/staleness": self.progress.iteration - float(samples.iteration.double().mean()),
        }
        return scalars if distinct is None else scalars | {"buffer/distinct": float(distinct)}

    def _announce(self) -> None:
        config = self.config.self_play
        parts = {"self-play": config.streams * config.games * config.moves, "learning": self._steps()}
        self.monitor.start(self.progress.iteration, {name: total for name, total in parts.items() if total})

    def _count(self, part: str, done: int) -> None:
        """Moves the progress on; called from the crew's threads."""
        self._check(done)
        self.monitor.advance(part, done)

    def _check(self, done: int) -> None:
        """Ends the task that calls it, if asked to."""
        if self.stop_now.is_set():
            raise Stopped

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """An exception here ends what the crew is doing, or leaving would wait for that."""
        try:
            yield
        except BaseException:
            self.stop_now.set()
            raise

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C (or SIGTERM): stop after this iteration; once more: stop at once."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.stop.is_set() or self.progress.iteration >= self.config.iterations:
                self.stop_now.set()
            else:
                self.stop.set()
                # Said by another thread: this one may be holding a lock of the display that speaking needs.
                text = "Stopping after this iteration (Ctrl-C again: at once, losing what it did) ..."
                threading.Thread(target=self.monitor.say, args=(text,)).start()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def check_devices(config: Config) -> None:
    """ValueError if torch cannot compute where the configuration says that this process does."""
    for device in {config.learner.device} | (set() if config.distributed else {config.self_play.device}):
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
            raise ValueError(f"device {device!r} is not to be had here; there is {', '.join(there)}") from error


def fixed_positions(game: Game, config: Config) -> State:
    """The start and three positions after random moves, to watch the policy at over the run."""
    generator = stream_generator(config.seed, POSITIONS)
    start = fresh_starts(game, 1, replace(config.self_play, opening_share=0.0, device="cpu"), generator)
    others = fresh_starts(game, 3, replace(config.self_play, opening_share=1.0, device="cpu"), generator)
    return concatenate([start, others])


def self_play_scalars(
    statistics: SelfPlayStatistics, learning_seconds: float, seconds: float, *, alone: bool
) -> dict[str, float]:
    """What self-play did in an iteration that took `seconds`, as scalars by tag.

    Shares of time are of the CPU time of self-play and learning. alone: whether the game is for one.
    """
    moves, total = max(1, statistics.moves), max(1e-9, statistics.seconds + learning_seconds)
    scalars = {
        "self_play/positions_per_second": statistics.moves / seconds,
        "self_play/simulations_per_second": statistics.simulations / seconds,
        "self_play/tree_depth": statistics.depth / moves,
        "self_play/games": float(statistics.games),
        "time/inference": statistics.inference_seconds / total,
        "time/tree": (statistics.seconds - statistics.inference_seconds) / total,
        "time/learning": learning_seconds / total,
    }
    if statistics.cache_asked:
        scalars["self_play/cache_hits"] = statistics.cache_found / statistics.cache_asked
    if statistics.games:
        scalars["self_play/game_length"] = statistics.game_moves / statistics.games
    if statistics.games and alone:
        scalars["self_play/return"] = statistics.returns / statistics.games
    elif statistics.games:
        scalars["self_play/first_player_wins"] = statistics.first_player_wins / statistics.games
        scalars["self_play/draws"] = statistics.draws / statistics.games
    return scalars


def strength_scalars(results: dict[str, MatchResult | SoloResult]) -> dict[str, float]:
    scalars = {}
    for tag, result in results.items():
        if isinstance(result, SoloResult):
            scalars[f"{tag}/points"] = result.mean
            scalars[f"{tag}/points_low"], scalars[f"{tag}/points_high"] = result.interval
            for name, of_games in result.measures.items():
                scalars[f"{tag}/{name}_median"], scalars[f"{tag}/{name}_95"] = np.quantile(of_games, (0.5, 0.95))
            continue
        scalars[f"{tag}/points"] = result.points
        scalars[f"{tag}/points_low"], scalars[f"{tag}/points_high"] = result.interval
        for seat, tally in (("", result.total), ("_first", result.first), ("_second", result.second)):
            for outcome, count in (("win", tally.wins), ("draw", tally.draws), ("loss", tally.losses)):
                scalars[f"{tag}/{outcome}{seat}"] = count / max(1, tally.games)
    return scalars
