"""Hex against OpenSpiel, against groups and distances found by walking, and against what is proven of it."""

from __future__ import annotations

import random
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alphazero.game import check_game, named_fields, num_actions, random_actions, take
from alphazero.game.grid import read_grid
from alphazero.game.loading import load_game
from alphazero.game.record import Record
from benchmarks.rules import PAIRS, Pair, play_beside
from games.hex import (
    FLOATING,
    FROM,
    TO,
    Hex,
    HexState,
    lead_compiled,
    lead_in_tensors,
    step_in_tensors,
)
from tests.solving import values_of_first_moves

Cell = tuple[int, int]  # row and column


def played(moves: str, side: int = 5) -> HexState:
    return Record(Hex(side), moves).state  # type: ignore[return-value]


# The rules once more, by walking from cell to cell.


def around(cell: Cell) -> set[Cell]:
    """The six cells that touch a cell, some of them beyond the board."""
    row, column = cell
    return {(row - 1, column), (row - 1, column + 1), (row, column - 1)} | {
        (row, column + 1), (row + 1, column - 1), (row + 1, column)
    }  # fmt: skip


def group_of(cell: Cell, stones: set[Cell]) -> set[Cell]:
    """The stones that hang together with the one on this cell."""
    found, edge = {cell}, [cell]
    while edge:
        new = around(edge.pop()) & stones - found
        found |= new
        edge.extend(new)
    return found


def connects(stones: set[Cell], player: int, side: int) -> bool:
    """Whether some group touches both sides of the player: 0 connects rows, 1 columns."""
    starts = [cell for cell in stones if cell[player] == 0]
    return any(other[player] == side - 1 for cell in starts for other in group_of(cell, stones))


def wins(own: frozenset[Cell], other: frozenset[Cell], player: int, side: int) -> bool:
    """Whether the player to move wins by perfect play."""
    free = {(row, column) for row in range(side) for column in range(side)} - own - other
    return any(connects({*own, cell}, player, side) or not wins(other, own | {cell}, 1 - player, side) for cell in free)


def stones_needed(own: set[Cell], other: set[Cell], side: int, player: int) -> int:
    """How many stones connect the player's sides, found with ever more of them; side + 1 where no number does."""
    reached: set[Cell] = set()
    free = {(row, column) for row in range(side) for column in range(side)} - other
    starts = {cell for cell in free if cell[player] == 0}
    for count in range(side + 1):
        # All that `count` stones reach: own stones cost nothing.
        while new := {cell for cell in own - reached if cell in starts or around(cell) & reached}:
            reached |= new
        if any(cell[player] == side - 1 for cell in reached):
            return count
        reached |= {cell for cell in free - reached if cell in starts or around(cell) & reached}
    return side + 1


@pytest.mark.parametrize("side", [2, 3, 5, 6, 11, 19])
def test_all_sizes_keep_the_promises_and_are_found_by_name(side: int) -> None:
    game = load_game(f"games.hex:Hex(side={side})")
    assert game.name == f"hex_{side}x{side}"
    check_game(game, games=16)


@pytest.mark.parametrize("side", [0, 1, -5, 20, 5.0, "5", True])
def test_other_sizes_are_refused(side: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"side must be a whole number from 2 to 19, is {side!r}")):
        Hex(side)  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "hex" in pair.peer], ids=lambda pair: pair.peer)
def test_whole_games_go_as_in_openspiel(pair: Pair) -> None:
    """And the rules in tensors are the compiled ones; `benchmarks/rules.py` plays more."""
    assert play_beside(pair, games=300, seed=1) > 300 * 5


@pytest.mark.parametrize("side", [2, 3, 5, 11, 19])
def test_the_compiled_rules_are_those_in_tensors(side: int) -> None:
    """Of games that go on, and of those that are over, where any action must do."""
    game, generator = Hex(side), torch.Generator().manual_seed(0)
    state, ply = game.initial(64), 0
    while not state.done.all():
        if ply % side == 0:  # distances take long in tensors
            some = take(state, slice(8))
            assert torch.equal(lead_compiled(some), lead_in_tensors(some))
        any_action = torch.randint(num_actions(game), state.done.shape, generator=generator)
        action = torch.where(state.done, any_action, random_actions(game, state, generator))
        compiled, tensors = (named_fields(step(state, action)) for step in (game.step, step_in_tensors))
        for name, field in compiled.items():
            torch.testing.assert_close(field, tensors[name], rtol=0, atol=0, msg=name)
        state, ply = game.step(state, action).state, ply + 1


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.randoms(use_true_random=False))
def test_whole_games_go_as_by_walking(side: int, chance: random.Random) -> None:
    """Groups, those that touch a side, the stones that are needed, and the end, before no cell is free."""
    game, owned = Hex(side), (set[Cell](), set[Cell]())
    state, player, done = game.initial(1), 0, False
    while not done:
        free = game.legal(state)[0].nonzero()[:, 0].tolist()
        assert len(free) == side * side - sum(map(len, owned)) > 0
        cell = divmod(chance.choice(free), side)
        owned[player].add(cell)
        state, reward, over = game.step(state, torch.tensor([cell[0] * side + cell[1]]))
        done = connects(owned[player], player, side)
        assert (float(reward), bool(over)) == (float(done), done)
        player = 1 - player
        assert int(state.turn) == player
        for stones, groups, owner in (
            (owned[player], state.mine[0], player),
            (owned[1 - player], state.theirs[0], 1 - player),
        ):
            assert {tuple(at) for at in groups.nonzero().tolist()} == stones
            for stone in stones:
                group, number = group_of(stone, stones), int(groups[stone])
                starts = any(other[owner] == 0 for other in group)
                arrives = any(other[owner] == side - 1 for other in group)
                assert (number == FROM, number == TO) == (starts, arrives and not starts) or done
                if number >= FLOATING:
                    assert {tuple(at) for at in (groups == number).nonzero().tolist()} == group
        needed = [stones_needed(owned[who], owned[1 - who], side, who) for who in (player, 1 - player)]
        assert int(lead_compiled(state)) == needed[1] - needed[0]


def test_a_full_board_connects_exactly_one_player() -> None:
    """So there are no draws: D. Gale 1979, "The game of Hex and the Brouwer fixed-point theorem"."""
    generator = torch.Generator().manual_seed(0)
    for side in (2, 3, 5, 8):
        x = torch.rand(500, side * side, generator=generator).argsort(1).view(-1, side, side) < (side * side + 1) // 2
        turn = torch.zeros(500, dtype=torch.int8)
        state = HexState(x.to(torch.int16), (~x).to(torch.int16), turn, turn.bool())
        lead = lead_compiled(state)
        assert set(lead.unique().tolist()) == {-(side + 1), side + 1}


def test_small_boards_are_won_as_by_walking() -> None:
    """By the first player, as J. Nash proved of every board."""
    for side in (2, 3):
        values = values_of_first_moves(Hex(side), lambda state, reward: reward)
        cells = [(row, column) for row in range(side) for column in range(side)]
        lost = [wins(frozenset(), frozenset({cell}), 1, side) for cell in cells]
        assert list(values.values()) == [-1 if loses else 1 for loses in lost]
        assert max(values.values()) == 1
    assert values["b2"] == 1


LADDER = """\
1 . . x . .
 2 . . x . .
  3 o o x . .
   4 . x . . .
    5 o . . . .
       a b c d e"""


def test_names_and_pictures() -> None:
    game = Hex()
    assert [game.action_name(action) for action in (0, 4, 5, 24)] == ["a1", "e1", "a2", "e5"]
    state = played("c1 a3 c2 b3 c3 a5 b4")
    assert game.render(state) == LADDER
    grid = read_grid(LADDER)
    assert grid is not None
    assert (grid.cells[2], grid.row_names, grid.column_names, grid.lean) == ("oox..", list("12345"), list("abcde"), 0.5)
    large = read_grid(Hex(side=11).render(Hex(side=11).initial(1)))
    assert large is not None
    assert (large.row_names[-1], large.column_names[-1], large.lean) == ("11", "k", 0.5)


def test_a_win_is_seen_at_the_move_that_connects() -> None:
    game, before = Hex(), played("c1 a3 c2 b3 c3 e5 b4 a4")
    for name, reward in (("a5", 1), ("b5", 1), ("c5", 0), ("c4", 0)):
        transition = game.step(before, torch.tensor([game.parse_action(name)]))
        assert (float(transition.reward), bool(transition.done)) == (reward, bool(reward)), name
    across = played("c3 a2 c4 b2 d4 c2 a1 e2 b1")
    transition = game.step(across, torch.tensor([game.parse_action("d2")]))
    assert (float(transition.reward), bool(transition.done)) == (1, True)


def test_the_network_sees_who_connects_what() -> None:
    game = Hex(side=3)
    assert game.observe(played("b2", 3))[0].tolist() == [
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        [[1, 0, 1], [1, 0, 1], [1, 0, 1]],  # the left and the right are those of the second player
    ]
    assert game.observe(game.initial(1))[0, 2].tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 1]]


def test_the_heuristic_is_the_lead_in_stones() -> None:
    state = played("c1 a3 c2 b3")  # x needs three more, o as well
    assert float(Hex().heuristic(state)) == 0
    state = played("c1 a3 c2")  # o to move, who needs four
    assert float(Hex().heuristic(state)) == pytest.approx(torch.tensor(-0.4).tanh().item())


def test_keys_are_numbers_to_base_three() -> None:
    game = Hex(side=3)
    assert int(game.key(played("b1 a2", 3))) == 3**1 + 2 * 3**3
    assert int(game.key(played("b1", 3))) == 2 * 3**1
    assert [Hex(side).has_key for side in (5, 6, 7)] == [True, True, False]
