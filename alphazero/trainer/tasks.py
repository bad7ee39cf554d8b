"""The tasks of a training run, for any executor: segments of self-play, and matches."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx

from alphazero.arena.players import SearchBudget
from alphazero.arena.registry import PlayerSpec, agent_spec, named_spec, network_spec
from alphazero.arena.tasks import PlayMatch
from alphazero.config import Config
from alphazero.game import Game, load_game
from alphazero.network.architectures import InferenceModule
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import Counter
from alphazero.replay import Samples
from alphazero.runs.agents import Agent
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, Trajectories

ALONE = "alone"  # stands for the opponent's name in a game for one


class Worker:
    """What a process needs to do a run's tasks: the game, and engines for its network.

    exported: the network in ONNX; without it the first task exports it.
    threads:  of an operation of ONNX Runtime.
    """

    def __init__(self, game: Game, config: Config, exported: onnx.ModelProto | None, *, threads: int = 1) -> None:
        self.game, self.config = game, config
        play = config.self_play
        self.evaluators = NetworkEvaluators(game, engine=play.engine, device=play.device, threads=threads)
        self.match_evaluators = NetworkEvaluators(game, engine="onnx", threads=threads)
        self.evaluators.exported = self.match_evaluators.exported = exported
        self.of_thread = threading.local()  # a cache of positions for each thread: only one thread at a time can use it


def make_worker(config: Config, exported: onnx.ModelProto | None, threads: int) -> Worker:
    """The worker of a run, in a process of its own."""
    return Worker(load_game(config.game), config, exported, threads=threads)


class PlayedSegment(NamedTuple):
    """The outcome of a segment: see `Played`; games: those under way after it, as `SelfPlay.arrays` gives them."""

    samples: Samples
    statistics: SelfPlayStatistics
    game: Trajectories | None
    games: dict[str, np.ndarray]


@dataclass(frozen=True)
class PlaySegment:
    """Plays a stream on by `self_play.moves` moves, from the games under way that the task brings along."""

    stream: int
    segment: int
    simulations: int
    games: dict[str, np.ndarray]
    seed: int

    @property
    def title(self) -> str:
        seed = f"seed {self.seed}, {self.stream}, {self.segment}"
        return f"segment {self.segment} of self-play stream {self.stream} ({seed})"

    def run(self, worker: Worker, count: Counter, weights: InferenceModule) -> PlayedSegment:
        config = worker.config
        stream = SelfPlay(worker.game, config.search, config.self_play, seed=self.seed, stream=self.stream)
        stream.load(self.games)
        stream.cache = getattr(worker.of_thread, "cache", None)
        played = stream.play(worker.evaluators(weights), self.segment, simulations=self.simulations, progress=count)
        worker.of_thread.cache = stream.cache
        return PlayedSegment(*played, stream.arrays())


def evaluation_matches(game: Game, config: Config, *, games: int) -> dict[str, PlayMatch]:
    """Matches of the agent and of its network alone against each opponent, all from the same openings, by tag.

    In a game for one there is no opponent, and they play alone. The weights must be shared with each match.
    """
    opponents = config.evaluation.opponents if game.num_players == 2 else (None,)
    return {
        f"{role}/{opponent or ALONE}": PlayMatch(
            f"{games} games of {player}" + (f" against {opponent}" if opponent else ""),
            game,
            games,
            config.seed,
            (config.seed, config.seed + number),
            config.evaluation.opening_moves,
            partial(match_players, role, opponent),
        )
        for number, opponent in enumerate(opponents)
        for role, player in (("strength", "the agent"), ("network", "the network alone"))
    }


def match_players(role: str, opponent: str | None, worker: Worker, weights: InferenceModule) -> list[PlayerSpec]:
    """The agent with these weights, or its network alone, and the opponent if there is one."""
    game, config = worker.game, worker.config
    agent = Agent(game, worker.match_evaluators(weights), config.search.without_noise(), "")
    simulations = SearchBudget(config.evaluation.simulations)
    player = agent_spec(None, agent, simulations) if role == "strength" else network_spec(None, agent)
    return [player, named_spec(opponent, game)] if opponent else [player]
