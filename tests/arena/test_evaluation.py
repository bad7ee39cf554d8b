"""Matches and position tests as tasks: they play as the arena does, from seeds that are apart, and count.

And the matches that measure an agent while it is trained.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alphazero.arena.benchmark import Match
from alphazero.arena.evaluation import PlayMatch, RunPositionTest, evaluation_matches, player_seeds
from alphazero.arena.match import SoloResult, play_match
from alphazero.arena.minimax import minimax
from alphazero.arena.plan import plan
from alphazero.arena.players import AgentPlayer, MinimaxPlayer, NetworkPlayer, RandomPlayer, parse_player
from alphazero.arena.registry import PlayerSpec
from alphazero.arena.solved import ErrorRate, SolvedPositions
from alphazero.config import EvaluationConfig
from alphazero.game import concatenate
from alphazero.game.record import Record
from alphazero.learner import Learner
from alphazero.network.architectures import inference_module
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import ThreadExecutor
from alphazero.trainer.tasks import make_worker
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.small_benchmark import FAST, Listener
from tests.stubs import Mine, MineState
from tests.training_runs import TASKS

GAME = TicTacToe()
RANDOM = PlayerSpec("random", lambda seed: RandomPlayer(GAME, seed))
PERFECT = PlayerSpec("minimax:9", lambda seed: MinimaxPlayer(GAME, 9, seed))


@pytest.mark.usefixtures("quick")
def test_player_and_opponent_draw_apart(trained: Path) -> None:
    """From the same seed, two random players would answer the same openings alike, and like the openings' own."""
    seeds: list[int] = []

    def build(seed: int) -> RandomPlayer:
        seeds.append(seed)
        return RandomPlayer(TicTacToe(), seed)

    benchmark = plan(trained / "agent.onnx", Listener(), against=[], games=2, budget=FAST, seed=1)
    benchmark.matches = [Match(PlayerSpec("one", build), PlayerSpec("other", build), 2)]
    benchmark.run_all(Listener(), ThreadExecutor(None, 1))
    assert len({*seeds, benchmark.seed}) == 3


def test_the_seeds_of_players_are_seeds_and_all_different() -> None:
    seeds = [each for seed in range(1000) for each in (seed, *player_seeds(seed))]
    assert len(set(seeds)) == 3000
    assert 0 <= min(seeds) <= max(seeds) < 2**62
    assert player_seeds(7) == player_seeds(7)


@pytest.mark.parametrize("opening_plies", [0, 3])
def test_a_match_is_the_arenas_with_players_of_these_seeds(opening_plies: int) -> None:
    counted: list[int] = []
    task = PlayMatch("", GAME, 20, 5, (6, 7), opening_plies)
    moves: list[int] = []
    expected = play_match(GAME, RandomPlayer(GAME, 6), MinimaxPlayer(GAME, 9, 7), games=20, seed=5,
                          opening_plies=opening_plies, progress=moves.append)  # fmt: skip
    assert task.run(None, counted.append, RANDOM, PERFECT) == expected
    assert sum(counted) == sum(moves)


def test_players_may_be_made_from_the_worker_and_what_is_shared() -> None:
    def from_worker(worker: dict[str, PlayerSpec], *names: str) -> list[PlayerSpec]:
        return [worker[name] for name in names]

    worker = {"random": RANDOM, "perfect": PERFECT}
    found = PlayMatch("", GAME, 10, 1, (2, 3), players=from_worker).run(worker, lambda done: None, "perfect", "random")
    assert found == PlayMatch("", GAME, 10, 1, (2, 3)).run(None, lambda done: None, PERFECT, RANDOM)


class Digging:
    name = "digging"

    def actions(self, states: MineState) -> Tensor:
        return torch.ones_like(states.depth)


def test_a_game_for_one_is_played_alone() -> None:
    """To the treasure at the bottom: five times the cost, then 1."""
    counted: list[int] = []
    digger = PlayerSpec("digging", lambda seed: Digging())
    found = PlayMatch("", Mine(), 3, 1, player_seeds(1)).run(None, counted.append, digger)
    assert isinstance(found, SoloResult)
    assert found.rewards == pytest.approx([1 - 5 * 0.05] * 3)
    assert sum(counted) == 3 * 6


class FirstPlayer:
    name = "first"

    def actions(self, states: TicTacToeState) -> Tensor:
        return GAME.legal(states).int().argmax(1)


def test_mistakes_are_counted_against_perfect_play() -> None:
    """On an empty board every move draws; against a corner only the centre does, and the first move is the edge b3."""
    moves = ("", "a3")
    states = concatenate([Record(GAME, each).state for each in moves])
    positions = SolvedPositions(states, minimax(GAME, states, depth=9).float(), moves, torch.tensor([0, 1]))
    counted: list[int] = []
    test = RunPositionTest("", seed=1)
    assert test.run(None, counted.append, PERFECT, positions).mistakes["all"] == ErrorRate(2, 0)
    assert sum(counted) == 2
    first = PlayerSpec("first", lambda seed: FirstPlayer())
    assert test.run(None, counted.append, first, positions).mistakes["all"] == ErrorRate(2, 1)


def test_whoever_counts_can_stop_a_task_before_its_first_move() -> None:
    moves: list[Any] = []

    class Recording(RandomPlayer):
        def actions(self, states: TicTacToeState) -> Tensor:
            moves.append(states)
            return super().actions(states)

    def stop(done: int) -> None:
        raise InterruptedError

    player = PlayerSpec("recording", lambda seed: Recording(GAME, seed))
    positions = SolvedPositions(GAME.initial(1), torch.zeros(1, 9), ("",), torch.tensor([0]))
    with pytest.raises(InterruptedError):
        PlayMatch("", GAME, 2, 1, (2, 3)).run(None, stop, player, player)
    with pytest.raises(InterruptedError):
        RunPositionTest("", seed=1).run(None, stop, player, positions)
    assert moves == []


def test_matches_of_a_run_are_those_that_its_configuration_describes() -> None:
    game = TicTacToe()
    config = replace(
        TASKS, evaluation=EvaluationConfig(opponents=("random", "minimax:2"), simulations=6, opening_moves=3)
    )
    weights = inference_module(Learner(game, config.learner, config.network, seed=0).network)
    worker = make_worker(config, None, 1)
    matches = evaluation_matches(game, config, ("random", "minimax:2"), games=12)
    assert list(matches) == ["strength/random", "network/random", "strength/minimax:2", "network/minimax:2"]
    assert matches["network/minimax:2"].title == "12 games of the network alone against minimax:2"
    evaluator = NetworkEvaluators(game, engine="onnx")(weights)
    search = replace(config.search.at_the_board(discrete=True), simulations=6)
    for number, opponent in enumerate(("random", "minimax:2")):
        for role in ("strength", "network"):
            counted: list[int] = []
            agent = AgentPlayer(game, evaluator, search, seed=5)
            expected = play_match(
                game,
                agent if role == "strength" else NetworkPlayer(game, evaluator),
                parse_player(opponent, game, seed=5 + number),
                games=12,
                seed=5,
                opening_plies=3,
            )
            assert matches[f"{role}/{opponent}"].run(worker, counted.append, weights) == expected
            assert 12 * 2 < sum(counted) <= 12 * 9  # the openings leave at least three moves, and a board has nine
