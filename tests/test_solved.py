"""Solved positions: reading them, and counting what players give away."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.evaluate import UniformEvaluator
from alphazero.game import State
from alphazero.players import AgentPlayer, MinimaxPlayer, NetworkPlayer, RandomPlayer
from alphazero.solved import error_rate, load_positions, mistakes
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe

SOLVED = Path(__file__).parent / "data" / "connect_four_solved.csv"
LATE = Path(__file__).parent / "data" / "connect_four_late.csv"
GAME = ConnectFour()


class Fixed:
    """Plays given actions."""

    name = "fixed"

    def __init__(self, actions: Tensor) -> None:
        self._actions = actions

    def actions(self, states: State) -> Tensor:
        now, self._actions = self._actions[: len(states[0])], self._actions[len(states[0]) :]
        return now


def test_the_best_action_is_no_mistake_and_the_worst_one_is_where_one_is_possible() -> None:
    positions = load_positions(SOLVED, GAME)
    best = positions.outcomes.argmax(1)
    assert not mistakes(Fixed(best), positions).any()
    legal = positions.outcomes.where(positions.outcomes > -2, 2)
    possible = legal.amin(1) < positions.outcomes.amax(1)
    assert torch.equal(mistakes(Fixed(legal.argmin(1)), positions), possible)
    assert 0 < int(possible.sum()) < len(possible)


def test_minimax_that_sees_the_end_makes_no_mistakes() -> None:
    positions = load_positions(LATE, GAME)
    full_depth = int(42 - positions.plies.min())
    assert error_rate(MinimaxPlayer(GAME, full_depth, seed=1), positions).mistakes == 0


def test_a_random_player_errs_as_often_as_its_legal_actions_are_mistakes() -> None:
    positions = load_positions(SOLVED, GAME)
    legal = positions.outcomes > -2
    share = ((positions.outcomes < positions.outcomes.amax(1, keepdim=True)) & legal).sum(1) / legal.sum(1)
    measured = error_rate(RandomPlayer(GAME, seed=3), positions)
    deviation = float((share * (1 - share)).sum().sqrt())
    assert abs(measured.mistakes - float(share.sum())) < 4 * deviation


def test_more_simulations_make_fewer_mistakes() -> None:
    positions = load_positions(LATE, GAME)
    uniform = UniformEvaluator(GAME)
    few, many = (
        error_rate(AgentPlayer(GAME, uniform, SearchConfig(simulations=n, gumbel_scale=0.0), seed=1), positions)
        for n in (8, 400)
    )
    assert many.mistakes < few.mistakes < len(positions.plies)


def test_the_network_alone_plays_its_likeliest_legal_action() -> None:
    state = GAME.initial(1)
    for _ in range(6):
        state = GAME.step(state, torch.tensor([0])).state
    assert not GAME.legal(state)[0, 0]
    # Uniform logits: the first of the legal columns.
    assert NetworkPlayer(GAME, UniformEvaluator(GAME)).actions(state).tolist() == [1]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("moves,score_1\n", "the column score_2 is missing"),
        ("moves,{scores}\n", "holds no positions"),
        ("moves,{scores}\n18,0,0,0,0,0,0,0\n", "line 2: no action is called '8'"),
        ("moves,{scores}\n1111111,0,0,0,0,0,0,0\n", "line 2: move 7 of '1111111': 1 is not legal here"),
        ("moves,{scores}\n1212121,0,0,0,0,0,0,0\n", "the game is over after 1212121"),
        ("moves,{scores}\n12,x,0,0,0,0,0,0\n", "line 2: invalid literal"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "positions.csv"
    path.write_text(content.format(scores=",".join(f"score_{column}" for column in range(1, 8))))
    with pytest.raises(ValueError, match=complaint) as error:
        load_positions(path, GAME)
    assert str(path) in str(error.value)


def test_another_games_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="no positions of tic_tac_toe"):
        load_positions(SOLVED, TicTacToe())
