"""Matches that measure an agent during its training and at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from alphazero.arena.match import MatchResult, SoloResult
from alphazero.arena.players import SearchBudget
from alphazero.arena.registry import PlayerSpec, agent_spec, named_spec, network_spec
from alphazero.arena.tasks import PlayMatch
from alphazero.config import Config
from alphazero.game import Game
from alphazero.network.architectures import InferenceModule
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import Executor
from alphazero.runs.agents import Agent

ALONE = "alone"  # stands for the opponent's name in a game for one

# By tag: strength/OPPONENT for the agent, network/OPPONENT for its network alone.
Results = dict[str, MatchResult | SoloResult]


class Worker(Protocol):
    """The part of a run's worker that evaluation matches need."""

    game: Game
    config: Config
    match_evaluators: NetworkEvaluators


class EvaluationMatches:
    """A run's matches under way, by the iteration they began in."""

    def __init__(self, game: Game, config: Config, executor: Executor, check: Callable[[int], None]) -> None:
        """check: called before each move; may raise to end the matches."""
        self.game, self.config, self.executor, self.check = game, config, executor, check
        self._under_way: dict[int, dict[str, Future[MatchResult | SoloResult]]] = {}

    def start(self, iteration: int, weights: Any, *, games: int) -> None:
        """Starts matches of the network with these weights, which the executor has shared."""
        matches = evaluation_matches(self.game, self.config, games=games)
        self._under_way[iteration] = {
            tag: self.executor.submit(match, weights, count=self.check) for tag, match in matches.items()
        }

    def take(self, *, wait: bool) -> dict[int, Results]:
        """The results that are complete, each iteration's once; `wait`: waits for all."""
        ended = [i for i, matches in self._under_way.items() if wait or all(m.done() for m in matches.values())]
        return {i: {tag: match.result() for tag, match in self._under_way.pop(i).items()} for i in ended}


def scalars_of(results: Mapping[str, MatchResult | SoloResult]) -> dict[str, float]:
    """All results' figures by tag."""
    return {name: scalar for tag, result in results.items() for name, scalar in result.scalars(tag).items()}


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
