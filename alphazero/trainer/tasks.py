"""A segment of self-play as a task for any executor, and what a process needs to do a run's tasks."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import onnx

from alphazero.config import Config
from alphazero.game import Game, load_game
from alphazero.network.architectures import InferenceModule
from alphazero.network.engines import best_engine
from alphazero.network.inference import NetworkEvaluators
from alphazero.network.loading import load_network_class
from alphazero.network.streams import own_stream
from alphazero.parallel.executor import Counter
from alphazero.replay import Arrays, Samples
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, Trajectories

EXAMPLES = 256  # positions that show the network what to expect


class Worker:
    """Everything that a process needs to do a run's tasks: the game, and engines for its network.

    exported: the network in ONNX; None: the first task exports it.
    threads:  how many an operation of ONNX Runtime uses.
    """

    def __init__(self, game: Game, config: Config, exported: onnx.ModelProto | None, *, threads: int = 1) -> None:
        self.game, self.config = game, config
        play = config.self_play
        engine = best_engine(game, config.network, play.device) if play.engine == "auto" else play.engine
        self.evaluators = NetworkEvaluators(game, engine=engine, device=play.device, threads=threads)
        self.match_evaluators = NetworkEvaluators(game, engine="onnx", threads=threads)
        self.evaluators.exported = self.match_evaluators.exported = exported
        self.of_thread = threading.local()  # a cache of positions for each thread: only one thread at a time can use it


def make_worker(config: Config, exported: onnx.ModelProto | None, threads: int) -> Worker:
    """The worker of a run, in a process of its own."""
    if config.network.own:  # now, as its weights come with every task, and importing it here looks at where it lies
        load_network_class(config.network.kind)
    return Worker(load_game(config.game), config, exported, threads=threads)


class PlayedSegment(NamedTuple):
    """The outcome of a segment: see `Played`; games: those under way after it, as `SelfPlay.arrays` gives them."""

    samples: Samples
    statistics: SelfPlayStatistics
    game: Trajectories | None
    games: Arrays


@dataclass(frozen=True)
class PlaySegment:
    """Plays a stream on by `self_play.moves` moves, from the games under way that the task brings along."""

    stream: int
    segment: int
    simulations: int
    games: Arrays
    seed: int

    @property
    def title(self) -> str:
        seed = f"seed {self.seed}, {self.stream}, {self.segment}"
        return f"segment {self.segment} of self-play stream {self.stream} ({seed})"

    def run(self, worker: Worker, count: Counter, weights: InferenceModule) -> PlayedSegment:
        config = worker.config
        with own_stream(config.self_play.device):
            stream = SelfPlay(
                worker.game, config.search, config.self_play, seed=self.seed, stream=self.stream, arrays=self.games
            )
            stream.cache = getattr(worker.of_thread, "cache", None)
            positions = stream.positions(EXAMPLES) if worker.evaluators.engine == "int8" else None
            evaluator = worker.evaluators(weights, positions)
            played = stream.play(evaluator, self.segment, simulations=self.simulations, progress=count)
            worker.of_thread.cache = stream.cache
            return PlayedSegment(*played, stream.arrays())
