"""Play against a player that fails, and in a game for one without board, keys or symmetry."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Discrete, Game, Transition
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.shell.both_shells import shells


class CountdownState(NamedTuple):
    """left: [B] int64, the count that is left."""

    left: Tensor


class Countdown(Game):
    """A game for one without a board: take 1 or 2 from 4; a point for coming out at 0."""

    name = "countdown"
    num_players = 1
    actions = Discrete(2)
    observation_shape = (1,)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> CountdownState:
        return CountdownState(torch.full((batch,), 4))

    def to_play(self, state: CountdownState) -> Tensor:
        return torch.zeros(len(state.left), dtype=torch.int8)

    def legal(self, state: CountdownState) -> Tensor:
        return torch.ones(len(state.left), 2, dtype=torch.bool)

    def step(self, state: CountdownState, action: Tensor) -> Transition:
        finished = state.left <= 0
        left = torch.where(finished, state.left, state.left - 1 - action)
        return Transition(CountdownState(left), ((left == 0) & ~finished).float(), left <= 0)

    def observe(self, state: CountdownState) -> Tensor:
        return state.left[:, None].float()


def test_a_game_for_one_without_board_keys_or_symmetry_is_played_too() -> None:
    play, explore, printed = shells(Countdown())
    for line, answer in (
        ("board", "left: 4"),
        ("1", "move 2 · last move 1 · the player to move (human)"),
        ("flip", "countdown has no symmetry"),
        ("swap", "countdown is a game for one"),
        ("side first", "countdown is a game for one"),
        ("1", "over after 2 moves, with a reward of 1"),
        ("undo", "left: 2"),
        ("resign", "the player resigns"),
    ):
        printed.truncate(0)
        play.onecmd(line)
        assert answer in printed.getvalue(), line
    explore.begin()
    explore.onecmd("do")
    assert "move 2 · last move" in printed.getvalue()


class Refusing(TicTacToe):
    """A game whose solver fails once it is asked about a position."""

    def solve(self, state: TicTacToeState) -> Tensor:
        if len(state.done):
            raise ValueError("the solver has lost its book")
        return torch.zeros(0, 9)


def test_a_player_that_fails_stops_the_game_and_loses_nothing() -> None:
    play, _, printed = shells(Refusing())
    play.onecmd("opponent perfect")
    play.postcmd(play.onecmd("b2"), "b2")
    assert printed.getvalue().endswith("the solver has lost its book\n")
    printed.truncate(0)
    play.postcmd(play.onecmd("moves"), "moves")
    assert "b2" in printed.getvalue()
    play.onecmd("opponent minimax:1")
    play.postcmd(play.onecmd("continue"), "continue")
    assert "o (minimax:1) plays" in printed.getvalue()
