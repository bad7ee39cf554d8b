"""Tic-tac-toe against its published counts, by searching all of it.

The counts: 5,478 positions can arise, 958 of them finished; up to turns and mirrors 765 and 138, of
which 91 are wins for x, 44 for o and 3 draws; 255,168 games, by length 1,440, 5,328, 47,952, 72,576 and
127,872 of 5 to 9 moves (https://en.wikipedia.org/wiki/Tic-tac-toe, "Combinatorics").
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alphazero.game import concatenate, take
from games.tic_tac_toe import TicTacToe, TicTacToeState

GAME = TicTacToe()


class Ply(NamedTuple):
    """The distinct positions at one ply, and the moves that lead on from them.

    paths:  [M] int64, in how many ways a position arises.
    parent, child: [moves] int64, positions of this ply and of the next.
    reward: [moves] float32.
    """

    state: TicTacToeState
    paths: Tensor
    parent: Tensor
    child: Tensor
    reward: Tensor


@pytest.fixture(scope="module")
def plies() -> list[Ply]:
    state, paths, found = GAME.initial(1), torch.ones(1, dtype=torch.int64), []
    while len(paths):
        parent, action = (GAME.legal(state) & ~state.done[:, None]).nonzero().unbind(1)
        successor, reward, _ = GAME.step(take(state, parent), action)
        keys, child = GAME.key(successor).unique(return_inverse=True)
        found.append(Ply(state, paths, parent, child, reward))
        example = torch.zeros_like(keys).scatter_(0, child, torch.arange(len(child)))
        paths = torch.zeros_like(keys).index_add_(0, child, paths[parent])
        state = take(successor, example)
    return found


def test_positions_that_can_arise(plies: list[Ply]) -> None:
    every = concatenate([ply.state for ply in plies])
    assert len(GAME.key(every).unique()) == len(every.done) == 5478
    assert int(every.done.sum()) == 958


def test_games_by_length(plies: list[Ply]) -> None:
    games = [int(ply.paths[ply.state.done].sum()) for ply in plies]
    assert games == [0, 0, 0, 0, 0, 1440, 5328, 47952, 72576, 127872]
    assert sum(games) == 255168


def test_positions_up_to_symmetry(plies: list[Ply]) -> None:
    finished, unlike, won_by_x, won_by_o = 0, 0, 0, 0
    for number, ply in enumerate(plies):
        boards = canonical(ply.state)
        unlike += len(boards.unique())
        finished += len(boards[ply.state.done].unique())
        winners = torch.zeros_like(ply.state.done)
        if number:
            winners[plies[number - 1].child[plies[number - 1].reward == 1]] = True
        won = len(boards[winners].unique())
        won_by_x, won_by_o = won_by_x + won * (number % 2), won_by_o + won * (1 - number % 2)
    assert (unlike, finished, won_by_x, won_by_o) == (765, 138, 91, 44)


def canonical(state: TicTacToeState) -> Tensor:
    """[B] int64, the same number for positions that turns and mirrors make alike, by `symmetries`."""
    observation = GAME.observe(state)
    images = [observation, *(symmetry.observation(observation) for symmetry in GAME.symmetries())]
    powers = 3 ** torch.arange(9)
    return torch.stack([(image.flatten(2).long() @ powers) @ torch.tensor([1, 2]) for image in images]).amin(0)


def test_perfect_play_draws(plies: list[Ply]) -> None:
    value = torch.zeros(len(plies[-1].paths))
    for ply in reversed(plies[:-1]):
        best = torch.full((len(ply.paths),), -2.0).scatter_reduce(0, ply.parent, ply.reward - value[ply.child], "amax")
        value = torch.where(ply.state.done, 0.0, best)
    assert value.tolist() == [0.0]


def test_there_are_seven_symmetries_besides_the_identity() -> None:
    permutations = {symmetry.actions for symmetry in GAME.symmetries()}
    assert len(permutations) == 7
    assert tuple(range(9)) not in permutations
    assert {permutation[4] for permutation in permutations} == {4}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=9))
def test_plays_as_the_rules_say(choices: list[int]) -> None:
    """Against the rules written on a list of cells."""
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    cells, state, mover = ["."] * 9, GAME.initial(1), "x"
    for choice in choices:
        free = [cell for cell in range(9) if cells[cell] == "."]
        assert GAME.legal(state)[0].nonzero()[:, 0].tolist() == free
        assert "xo"[int(GAME.to_play(state))] == mover
        action = free[choice % len(free)]
        cells[action] = mover
        won = any(all(cells[cell] == mover for cell in line) for line in lines)
        state, reward, done = GAME.step(state, torch.tensor([action]))
        mover = "o" if mover == "x" else "x"
        observed = GAME.observe(state)[0].flatten(1).bool()
        assert observed.tolist() == [[cell == mover for cell in cells], [cell not in (mover, ".") for cell in cells]]
        assert (float(reward), bool(done)) == (float(won), won or "." not in cells)
        if done:
            break


def test_reads_like_a_board() -> None:
    state = GAME.initial(1)
    for name in ("b2", "a1", "c1"):
        state = GAME.step(state, torch.tensor([GAME.parse_action(name)])).state
    assert GAME.render(state) == "3 . . .\n2 . x .\n1 o . x\n  a b c"
    assert [GAME.action_name(action) for action in range(9)] == ["a3", "b3", "c3", "a2", "b2", "c2", "a1", "b1", "c1"]
    with pytest.raises(ValueError, match="no action is called 'd1'; expected one of a3, "):
        GAME.parse_action("d1")


def test_heuristic_counts_open_lines() -> None:
    """A mark in the middle leaves the opponent 4 of the 8 lines, one in a corner 5, one at a side 6."""
    state = GAME.step(take(GAME.initial(1), torch.zeros(3, dtype=torch.int64)), torch.tensor([4, 0, 1])).state
    torch.testing.assert_close(GAME.heuristic(state), torch.tensor([4 - 8, 5 - 8, 6 - 8]) / 9)
