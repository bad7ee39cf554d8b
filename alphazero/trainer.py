"""The training loop: self-play, learning, measuring, saving.

Self-play of an iteration overlaps learning on the iterations before it. All tasks of an iteration
- the learning, the streams of self-play, now and then a match - read what the iteration before
left and share nothing while they run. So a pool of threads may take them in any order, and the
result does not depend on timing. (ONNX Runtime, torch and the kernels release the interpreter's
lock while they compute.)
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import psutil
import torch

from alphazero import checkpoint
from alphazero.agents import export_agent
from alphazero.arena import MatchResult, play_match
from alphazero.checkpoint import Progress
from alphazero.config import Config
from alphazero.evaluate import NetworkEvaluators, available_cores
from alphazero.game import Discrete, Game, State, concatenate, take
from alphazero.learner import Learner
from alphazero.mcts.search import Evaluator
from alphazero.mcts.tree import Evaluation, masked
from alphazero.monitor import Monitor
from alphazero.network import InferenceModule, with_weights
from alphazero.pictures import board_figure, policy_heatmap
from alphazero.players import AgentPlayer, NetworkPlayer, Player, parse_player
from alphazero.replay import Replay, join
from alphazero.selfplay import Played, SelfPlay, SelfPlayStatistics, fresh_starts, stream_generator

# Numbers that set the seeds of these apart from those of the streams, which count from 0.
LEARNING, POSITIONS = 1_000_001, 1_000_002


class Stopped(Exception):
    """Training was asked to stop at once; the last checkpoint stands."""


class Training:
    """A run: what it is made of, and the loop that drives it."""

    def __init__(self, game: Game, config: Config, folder: Path) -> None:
        """ValueError if the game and the configuration do not fit, or a device is not there."""
        self.game, self.config, self.folder = game, config, folder
        for device in (config.self_play.device, config.learner.device):
            check_device(device)
        if not isinstance(game.actions, Discrete):
            raise ValueError(f"{game.name} has continuous actions, which search handles and training does not yet")
        if config.self_play.cache and torch.device(config.self_play.device).type != "cpu":
            raise ValueError(
                "the cache of evaluations lives on the CPU; set self_play.cache = 0 for self-play elsewhere"
            )
        if game.num_players != 2 and config.evaluation.opponents:
            raise ValueError(f"{game.name} is a game for one: nobody can oppose it; set evaluation.opponents = []")
        if config.replay.merge != "none" and game.key(game.initial(1)) is None:
            raise ValueError(f'{game.name} has no `key` to tell equal positions by; set replay.merge = "none"')
        for opponent in config.evaluation.opponents:
            parse_player(opponent, game, seed=config.seed)
        self.learner = Learner(game, config.learner, config.network, seed=config.seed)
        self.replay = Replay(game, config.replay)
        self.streams = [
            SelfPlay(game, config.search, config.self_play, seed=config.seed, stream=number)
            for number in range(config.self_play.streams)
        ]
        self.evaluators = NetworkEvaluators(game, engine=config.self_play.engine, device=config.self_play.device)
        self.judges = NetworkEvaluators(game, engine="onnx")
        # Exporting to ONNX switches oneDNN off for the whole process while it lasts, which would
        # change the last bits of what another thread computes: so before there are any.
        for evaluators in (self.evaluators, self.judges):
            evaluators(self.learner.weights())
        self.progress = Progress()
        self.stop, self.stop_now = threading.Event(), threading.Event()
        self.positions = fixed_positions(game, config)
        self.policies: dict[str, np.ndarray] = {}  # of the fixed positions, by iteration
        if (folder / "policies.npz").exists():
            with checkpoint.reading(folder / "policies.npz"):
                self.policies = checkpoint.read_arrays(folder / "policies.npz")

    def run(self, monitor: Monitor) -> dict[str, MatchResult]:
        """Trains until the configuration's end; returns how the agent then fares, see `_start_matches`.

        Empty without opponents, or if it was asked to stop before the end: then the iteration under
        way is finished and saved first.
        """
        self.monitor, iterations = monitor, self.config.iterations
        with self._pool() as pool, self._signals():
            while self.progress.iteration < iterations and not self.stop.is_set():
                started, iteration = time.monotonic(), self.progress.iteration
                self._announce()
                weights = self.learner.weights()
                learning = pool.submit(self._learn)
                matches = self._start_matches(pool, weights) if self._due(iteration) else {}
                games = [pool.submit(self._play, stream, self.evaluators(weights)) for stream in self.streams]
                losses, played = learning.result(), [game.result() for game in games]
                self.replay.extend(join([part.samples for part in played]))
                statistics = sum((part.statistics for part in played), SelfPlayStatistics())
                recorded = {stream: part.game for stream, part in enumerate(played) if part.game}
                checkpoint.save_games(self.folder, iteration, recorded)
                results = {name: match.result() for name, match in matches.items()}
                self._finish(losses, statistics, results, seconds=time.monotonic() - started)
            self._export()
            if self.stop.is_set() or not self.config.evaluation.opponents:
                return {}
            monitor.say("Measuring the trained agent ...")
            matches = self._start_matches(pool, self.learner.weights(), games=2 * self.config.evaluation.games)
            results = {name: match.result() for name, match in matches.items()}
            monitor.record(iterations - 1, strength_scalars(results))
            return results

    def _learn(self) -> dict[str, float]:
        """Learns for as many steps as the last iteration's new samples ask for."""
        config, iteration = self.config, self.progress.iteration
        steps = self._steps()
        if steps == 0:
            return {}
        return self.learner.learn(
            self.replay.training_set(),
            steps,
            stream_generator(config.seed, LEARNING, iteration),
            progress_from=iteration / config.iterations,
            progress_to=(iteration + 1) / config.iterations,
            progress=partial(self._count, "learning"),
        )

    def _steps(self) -> int:
        return round(self.config.learner.replay_ratio * self.progress.new_samples / self.config.learner.batch)

    def _play(self, stream: SelfPlay, evaluator: Evaluator) -> Played:
        return stream.play(
            evaluator,
            self.progress.iteration,
            simulations=self._simulations(),
            progress=partial(self._count, "self-play"),
        )

    def _simulations(self) -> int:
        """A move's, in this iteration: early games teach little whatever the search, late ones more with more of it."""
        last = self.config.search.simulations
        first = self.config.self_play.first_simulations or last
        return round(first + (last - first) * self.progress.iteration / self.config.iterations)

    def _start_matches(
        self, pool: ThreadPoolExecutor, weights: InferenceModule, *, games: int | None = None
    ) -> dict[str, Future[MatchResult]]:
        """Matches against each opponent, all from the same openings.

        By tag: strength/OPPONENT for the agent, network/OPPONENT for its network alone.
        """
        config, matches = self.config.evaluation, {}
        search_config = replace(self.config.search.without_noise(), simulations=config.simulations)
        for number, name in enumerate(config.opponents):
            judge = self._stoppable(self.judges(weights))
            players: dict[str, Player] = {
                "strength": AgentPlayer(self.game, judge, search_config, seed=self.config.seed),
                "network": NetworkPlayer(self.game, judge),
            }
            for tag, player in players.items():
                opponent = parse_player(name, self.game, seed=self.config.seed + number)
                match = partial(play_match, self.game, player, opponent, games=games or config.games)
                matches[f"{tag}/{name}"] = pool.submit(match, seed=self.config.seed, opening_plies=config.opening_moves)
        return matches

    def _stoppable(self, evaluator: Evaluator) -> Evaluator:
        def evaluate(states: State, generator: torch.Generator) -> Evaluation:
            if self.stop_now.is_set():
                raise Stopped
            return evaluator(states, generator)

        return evaluate

    def _due(self, iteration: int) -> bool:
        every = self.config.evaluation.every
        return every > 0 and iteration > 0 and iteration % every == 0

    def _finish(
        self,
        losses: dict[str, float],
        statistics: SelfPlayStatistics,
        results: dict[str, MatchResult],
        *,
        seconds: float,
    ) -> None:
        """Writes down what the iteration brought, and saves."""
        iteration, learning_seconds = self.progress.iteration, losses.pop("learner/seconds", 0.0)
        core_seconds = self.progress.core_seconds + statistics.seconds + learning_seconds
        scalars = losses | self_play_scalars(statistics, learning_seconds, seconds) | self._buffer_scalars()
        scalars |= strength_scalars(results)
        scalars |= {"self_play/simulations": float(self._simulations())}
        scalars |= {"time/iteration": seconds, "time/core_seconds": core_seconds}
        scalars["memory/resident_mb"] = psutil.Process().memory_info().rss / 2**20
        self.monitor.record(iteration, scalars)
        self.monitor.report(iteration, scalars)
        self.progress = Progress(iteration + 1, statistics.samples, core_seconds)
        checkpoint.save_checkpoint(self.folder, self.game, self.progress, self.learner, self.replay, self.streams)
        checkpoint.prune_checkpoints(self.folder, every=self.config.evaluation.every)
        if self._due(iteration + 1) or iteration + 1 == self.config.iterations:
            self._show(iteration)

    def _show(self, iteration: int) -> None:
        """Exports the agent, and draws what it thinks of a few fixed positions."""
        self._export()
        evaluation = self.judges(self.learner.weights())(self.positions, torch.Generator())
        policies = masked(evaluation.logits, self.game.legal(self.positions)).softmax(-1)
        self.policies[str(iteration)] = policies.numpy()
        with checkpoint.clear_errors(self.folder):
            checkpoint.write_with(
                self.folder / "policies.npz", lambda path: checkpoint.save_arrays(path, self.policies)
            )
        history = {int(then): policies for then, policies in self.policies.items() if int(then) <= iteration}
        self.monitor.picture(iteration, "policy/fixed_positions", policy_heatmap(self.game, history))
        for number in range(len(policies)):
            position = take(self.positions, slice(number, number + 1))
            figure = board_figure(self.game, position, policies[number], float(evaluation.value[number]))
            self.monitor.picture(iteration, f"position/{number}", figure)

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
        """Moves the progress on; called from the pool's threads, which it ends if asked to."""
        if self.stop_now.is_set():
            raise Stopped
        self.monitor.advance(part, done)

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        # One thread each inside torch: two in one operation are slower than two operations at once.
        torch.set_num_threads(1)
        threads = self.config.threads or available_cores()
        pool = ThreadPoolExecutor(threads, "training", initializer=partial(torch.set_num_threads, 1))
        try:
            yield pool
        except BaseException:
            self.stop_now.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

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


def check_device(device: str) -> None:
    """ValueError if torch cannot compute there."""
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


def self_play_scalars(statistics: SelfPlayStatistics, learning_seconds: float, seconds: float) -> dict[str, float]:
    """What self-play did in an iteration that took `seconds`, as scalars by tag.

    Shares of time are of the CPU time of self-play and learning.
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
        scalars["self_play/first_player_wins"] = statistics.first_player_wins / statistics.games
        scalars["self_play/draws"] = statistics.draws / statistics.games
    return scalars


def strength_scalars(results: dict[str, MatchResult]) -> dict[str, float]:
    scalars = {}
    for tag, result in results.items():
        scalars[f"{tag}/points"] = result.points
        scalars[f"{tag}/points_low"], scalars[f"{tag}/points_high"] = result.interval
        for seat, tally in (("", result.total), ("_first", result.first), ("_second", result.second)):
            for outcome, count in (("win", tally.wins), ("draw", tally.draws), ("loss", tally.losses)):
                scalars[f"{tag}/{outcome}{seat}"] = count / max(1, tally.games)
    return scalars
