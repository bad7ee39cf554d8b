"""Random rollouts: their mean, against the sum over every line of play."""

from __future__ import annotations

import math

import pytest
import torch

from alphazero.arena.rollouts import RolloutEvaluator
from alphazero.game import Game, State
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.positions import random_positions, tic_tac_toe_board
from tests.stubs import Again, AgainState, Mine, MineState

GAME = ConnectFour()
RANDOM = torch.Generator()
POSITIONS = random_positions(GAME, 37, plies=11, seed=0)


def random_value(game: Game, state: State) -> tuple[float, float]:
    """Mean return of a batch of one under random play, for the player to move, and its second moment.

    By summing over every line of play.
    """
    legal = game.legal(state)[0].nonzero()[:, 0]
    first, second = 0.0, 0.0
    for action in legal:
        successor, reward, done = game.step(state, action[None])
        sign = 1.0 if game.to_play(successor) == game.to_play(state) else -1.0
        mean, square = (0.0, 0.0) if done else random_value(game, successor)
        factor, gain = sign * game.discount, float(reward)
        first += (gain + factor * mean) / len(legal)
        second += (gain**2 + 2 * gain * factor * mean + factor**2 * square) / len(legal)
    return first, second


@pytest.mark.parametrize(
    ("game", "state"),
    [
        (TicTacToe(), tic_tac_toe_board("x o x / . o . / . x .")),
        (TicTacToe(), tic_tac_toe_board("x o x / . o . / . . .")),
        (Again(), AgainState(torch.tensor([6]), torch.tensor([1], dtype=torch.int8))),
        (Mine(), MineState(torch.tensor([1]), torch.tensor([False]))),
    ],
    ids=["alternating", "alternating, other to move", "consecutive moves", "discounted"],
)
def test_rollouts_come_to_the_mean_over_all_lines_of_play(game: Game, state: State) -> None:
    mean, square = random_value(game, state)
    rollouts = 4000
    said = RolloutEvaluator(game, rollouts=rollouts)(state, torch.Generator().manual_seed(0))
    assert abs(float(said.value) - mean) < 5 * math.sqrt((square - mean**2) / rollouts)


def test_rollouts_of_a_batch_stay_with_their_positions() -> None:
    game = Again()
    state = AgainState(torch.tensor([1, 2, 9]), torch.zeros(3, dtype=torch.int8))
    said = RolloutEvaluator(game, rollouts=50)(state, torch.Generator().manual_seed(0))
    assert float(said.value[0]) == 1.0  # one match left: whoever takes it wins
    assert -1 <= float(said.value[2]) < 1
