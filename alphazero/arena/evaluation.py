"""Matches and position tests as tasks for any executor, and the matches that measure an agent while it is trained.

Players and positions are shared with the executor (`alphazero.parallel.executor`), since many tasks have them in
common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import numpy as np

from alphazero.arena.match import OPENING_MOVES, MatchResult, SoloResult, play_alone, play_match
from alphazero.arena.opponents import expected_moves
from alphazero.arena.players import SearchBudget, Stoppable
from alphazero.arena.registry import PlayerSpec, agent_spec, named_spec, network_spec
from alphazero.arena.solved import PositionResult, SolvedPositions, answered
from alphazero.config import MAX_MOVES, Config
from alphazero.game import Game
from alphazero.network.architectures import InferenceModule
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import Counter, Executor
from alphazero.runs.agents import Agent


@dataclass(frozen=True)
class PlayMatch:
    """Plays a match of two players, or in a game for one the games of one player alone.

    seed:          of the openings.
    player_seeds:  of the player and of the opponent.
    opening_plies, max_moves: as in `play_match`.
    players:       returns the players, given the worker and what is shared with the task; by default the players
                   themselves are.
    """

    title: str
    game: Game
    games: int
    seed: int
    player_seeds: tuple[int, int]
    opening_plies: int = OPENING_MOVES
    max_moves: int = MAX_MOVES
    players: Callable[..., Sequence[PlayerSpec]] = lambda worker, *players: players

    def run(self, worker: Any, count: Counter, *shared: Any) -> MatchResult | SoloResult:
        specs = self.players(worker, *shared)
        players = [Stoppable(one.build(seed), count) for one, seed in zip(specs, self.player_seeds, strict=False)]
        if len(players) == 1:
            return play_alone(
                self.game, players[0], games=self.games, seed=self.seed, max_moves=self.max_moves, progress=count
            )
        return play_match(
            self.game, *players, games=self.games, seed=self.seed, opening_plies=self.opening_plies,
            max_moves=self.max_moves, progress=count,
        )  # fmt: skip


@dataclass(frozen=True)
class RunPositionTest:
    """Asks a player about solved positions."""

    title: str
    seed: int

    def run(self, worker: Any, count: Counter, player: PlayerSpec, positions: SolvedPositions) -> PositionResult:
        stoppable = Stoppable(player.build(player_seeds(self.seed)[0]), count)
        return answered(stoppable, positions, progress=count)


def player_seeds(seed: int) -> tuple[int, int]:
    """Seeds for the player and the opponent, apart from each other and from the seed of the openings."""
    one, other = np.random.SeedSequence(seed).generate_state(2, np.uint64) >> np.uint64(2)
    return int(one), int(other)


ROLES = {"strength": "agent", "network": "network alone"}  # by tag
ALONE = "alone"  # stands for the opponent's name in a game for one

# By tag: strength/OPPONENT for the agent, network/OPPONENT for its network alone.
Results = dict[str, MatchResult | SoloResult]


class Worker(Protocol):
    """The part of a run's worker that evaluation matches need."""

    game: Game
    config: Config
    match_evaluators: NetworkEvaluators


class Bars(Protocol):
    """Shows the progress of matches; called by several threads."""

    def start_match(self, name: str, moves: int) -> None:
        """A match begins that takes about so many moves."""

    def advance(self, name: str, done: int) -> None:
        """So many more moves of the match with this name have been made."""

    def end_match(self, name: str) -> None:
        """The match is over."""


class EvaluationMatches:
    """A run's matches under way, by the iteration they began in."""

    def __init__(
        self, game: Game, config: Config, executor: Executor, check: Callable[[int], None], bars: Bars
    ) -> None:
        """check: called before each move, and again and again within; may raise to end the matches."""
        self.game, self.config, self.executor, self.check, self.bars = game, config, executor, check, bars
        self._under_way: dict[int, dict[str, Future[MatchResult | SoloResult]]] = {}

    def start(self, iteration: int, weights: Any, opponents: Sequence[str], *, games: int) -> None:
        """Starts matches of the network with these weights, which the executor has shared."""
        matches = evaluation_matches(self.game, self.config, opponents, games=games)
        self._under_way[iteration] = {tag: self._start(tag, match, weights) for tag, match in matches.items()}

    def _start(self, tag: str, match: PlayMatch, weights: Any) -> Future[MatchResult | SoloResult]:
        role, opponent = tag.split("/", 1)
        name = f"{ROLES[role]} against {opponent}" if opponent != ALONE else ROLES[role]
        begin = cache(partial(self.bars.start_match, name, expected_moves(self.game, match.games)))

        def count(done: int) -> None:
            begin()  # with the first call: a match may wait for a free worker
            self.check(0)
            self.bars.advance(name, done)

        future = self.executor.submit(match, weights, count=count)
        future.add_done_callback(lambda _: self.bars.end_match(name))
        return future

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Waits for all matches, unless `stopped()` becomes true."""
        matches = [match for of_iteration in self._under_way.values() for match in of_iteration.values()]
        while not stopped() and futures.wait(matches, timeout=0.1).not_done:
            pass

    def take(self) -> dict[int, Results]:
        """The results that are complete, each iteration's once."""
        ended = [i for i, matches in self._under_way.items() if all(match.done() for match in matches.values())]
        return {i: {tag: match.result() for tag, match in self._under_way.pop(i).items()} for i in ended}


def scalars_of(results: Mapping[str, MatchResult | SoloResult]) -> dict[str, float]:
    """All results' figures by tag."""
    return {name: scalar for tag, result in results.items() for name, scalar in result.scalars(tag).items()}


def evaluation_matches(game: Game, config: Config, opponents: Sequence[str], *, games: int) -> dict[str, PlayMatch]:
    """Matches of the agent and of its network alone against each opponent, all from the same openings, by tag.

    In a game for one there is no opponent, and they play alone. The weights must be shared with each match.
    """
    seed, plies = config.seed, config.evaluation.opening_moves
    matches: dict[str, PlayMatch] = {}
    for number, opponent in enumerate(opponents if game.num_players == 2 else (None,)):
        for role, player in ROLES.items():
            title = f"{games} games of the {player}" + (f" against {opponent}" if opponent else "")
            players = partial(match_players, role, opponent)
            longest = config.self_play.max_moves
            match = PlayMatch(title, game, games, seed, (seed, seed + number), plies, longest, players)
            matches[f"{role}/{opponent or ALONE}"] = match
    return matches


def match_players(role: str, opponent: str | None, worker: Worker, weights: InferenceModule) -> list[PlayerSpec]:
    """The agent with these weights, or its network alone, and the opponent if there is one."""
    game, config = worker.game, worker.config
    agent = Agent(game, worker.match_evaluators(weights), config.search.at_the_board(discrete=game.discrete), "")
    simulations = SearchBudget(config.evaluation.simulations)
    player = agent_spec(None, agent, simulations) if role == "strength" else network_spec(None, agent)
    return [player, named_spec(opponent, game, max_moves=config.self_play.max_moves)] if opponent else [player]
