"""Connect-four against its rules written again on lists, a perfect solver's scores and published counts."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alphazero.game import take
from games.connect_four import (
    COLUMNS,
    ROWS,
    ConnectFour,
    ConnectFourState,
    lead_compiled,
    lead_in_tensors,
    legal_compiled,
    legal_in_tensors,
    step_in_tensors,
)
from tests.games.connect_four_rules import FULL_BOARDS, ListRules
from tests.positions import board, played

GAME = ConnectFour()
SOLVED = Path(__file__).parents[2] / "games" / "data" / "connect_four" / "positions.csv"


def winning_moves(state: ConnectFourState) -> list[int]:
    """The columns, 1 to 7, that win at once."""
    every = take(state, torch.zeros(COLUMNS, dtype=torch.int64))
    transition = GAME.step(every, torch.arange(COLUMNS))
    wins = GAME.legal(state)[0] & (transition.reward == 1)
    assert bool((transition.done == (transition.reward == 1))[GAME.legal(state)[0]].all())
    return [column + 1 for column in wins.nonzero()[:, 0].tolist()]


def play_both(choices: list[int]) -> tuple[ListRules, ConnectFourState, float]:
    """Plays a game by both sets of rules, comparing all their answers, to its end or that of the choices."""
    rules, state, reward = ListRules(), GAME.initial(1), torch.zeros(1)
    for choice in choices:
        if rules.done:
            break
        legal = rules.legal()
        assert GAME.legal(state)[0].nonzero()[:, 0].tolist() == legal
        assert "xo"[int(GAME.to_play(state))] == rules.mover
        column = legal[choice % len(legal)]
        won = rules.play(column)
        state, reward, done = GAME.step(state, torch.tensor([column]))
        assert (float(reward), bool(done)) == (float(won), rules.done)
        assert GAME.observe(state)[0].tolist() == rules.planes()
    return rules, state, float(reward)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=42))
def test_plays_as_the_rules_say(choices: list[int]) -> None:
    play_both(choices)


@settings(max_examples=40, deadline=None)
@given(st.permutations([column for column in range(7) for _ in range(6)]))
def test_plays_as_the_rules_say_to_the_end(choices: list[int]) -> None:
    """Columns drawn evenly give long games, full columns and draws among them."""
    rules, _, _ = play_both(choices)
    assert rules.done


def test_the_compiled_rules_are_those_in_tensors() -> None:
    game, generator = ConnectFour(), torch.Generator().manual_seed(0)
    state = game.initial(1_000)
    for _ in range(COLUMNS * ROWS):  # by then all games are finished
        legal = legal_in_tensors(state)
        assert torch.equal(legal_compiled(state), legal)
        assert torch.equal(lead_compiled(state), lead_in_tensors(state))
        action = torch.where(legal, torch.rand(legal.shape, generator=generator), -1.0).argmax(-1)
        compiled, tensors = game.step(state, action), step_in_tensors(state, action)
        for name, field in (*compiled.state._asdict().items(), ("reward", compiled.reward)):
            torch.testing.assert_close(field, getattr(tensors.state, name, tensors.reward), rtol=0, atol=0, msg=name)
        state = compiled.state
    assert state.done.all()


def test_distinct_positions_by_ply() -> None:
    """OEIS A212693. The seventh ply is the first with finished games, the eighth goes on without them."""
    state, counts = GAME.initial(1), [1]
    for _ in range(8):
        parent, action = (GAME.legal(state) & ~state.done[:, None]).nonzero().unbind(1)
        successor = GAME.step(take(state, parent), action).state
        keys, group = GAME.key(successor).unique(return_inverse=True)
        state = take(successor, torch.zeros_like(keys).scatter_(0, group, torch.arange(len(group))))
        counts.append(len(keys))
    assert counts == [1, 7, 49, 238, 1120, 4263, 16422, 54859, 184275]


def solved_rows() -> list[dict[str, str]]:
    with SOLVED.open(newline="") as file:
        return list(csv.DictReader(file))


def test_full_columns_are_those_without_a_score() -> None:
    for row in solved_rows():
        scored = [row[f"score_{column + 1}"] != "" for column in range(COLUMNS)]
        assert GAME.legal(played(row["moves"]))[0].tolist() == scored, row


def test_wins_at_once_are_those_of_the_solver() -> None:
    """A win with the k-th stone of the winner scores 22 - k, and no later win scores as much.

    So a move that wins at ply n, as stone n // 2 + 1 of the mover, scores 21 - n // 2.
    """
    wins = 0
    for row in solved_rows():
        state = played(row["moves"])
        assert not bool(state.done), row
        best = 21 - len(row["moves"]) // 2
        expected = [column for column in range(1, COLUMNS + 1) if row[f"score_{column}"] == str(best)]
        assert winning_moves(state) == expected, row
        wins += len(expected)
    assert wins > 50


POSITIONS = {
    "upright": (
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        x . . . . . o
        x . . . . . o
        x . . . . . o""",
        [1],
    ),
    "flat, at either end": (
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . o o o . .
        . . x x x . .""",
        [2, 6],
    ),
    "flat, in a gap": (
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . o o
        . . . x . x x""",
        [5],
    ),
    "rising": (
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . x o . . .
        . x o o . . .
        x o o x . . x""",
        [4],
    ),
    "falling, for o": (
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . x o . .
        . . . x x o .
        . . . o x x o""",
        [4],
    ),
    "falling from the top corner": (
        """
        . . . . . . .
        o x . . . . .
        x o x . . . .
        o o o x . . .
        o x o x . . .
        x o x o . . x""",
        [1],
    ),
    "up a column does not go on in the next": (
        """
        . x . . . . .
        . x . . . . .
        . x . . . . .
        . o . . . . .
        . o . . . . .
        . o . . . . .""",
        [],
    ),
    "flat does not go on in the next row": (
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o o o .
        x . . o x x x""",
        [],
    ),
    "three do not win, nor the opponent's four": (
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . o . . . .
        . . o . . . .
        x x o . . x .""",
        [],
    ),
}


@pytest.mark.parametrize(("picture", "expected"), POSITIONS.values(), ids=POSITIONS)
def test_wins_at_once(picture: str, expected: list[int]) -> None:
    assert winning_moves(board(picture)) == expected


@pytest.mark.parametrize(("moves", "outcome"), FULL_BOARDS.values(), ids=FULL_BOARDS)
def test_a_full_board_ends_the_game(moves: str, outcome: float) -> None:
    """Played on the lists too, which agree that no earlier move wins."""
    rules = ListRules()
    for ply, move in enumerate(moves):
        assert not rules.done
        assert rules.play(int(move) - 1) == (outcome == 1 and ply == 41)
    before = played(moves[:-1])
    assert not bool(before.done)
    state, reward, done = GAME.step(before, torch.tensor([int(moves[-1]) - 1]))
    assert (float(reward), bool(done)) == (outcome, True)
    assert not bool(GAME.legal(state).any())


def test_keys_are_the_guarded_boards() -> None:
    """Fhourstones' code: in each column, a one above the stones, and a one for each of the mover's."""
    assert GAME.key(GAME.initial(1)).tolist() == [0b0000001_0000001_0000001_0000001_0000001_0000001_0000001]
    assert GAME.key(played("445")).tolist() == [0b0000001_0000001_0000010_0000110_0000001_0000001_0000001]


def prospects(rules: ListRules, mark: str) -> float:
    """Threats, cells that would complete four, count 1; a stone in the middle column 0.2, beside it 0.1."""
    board_cells = {(column, row) for column in range(7) for row in range(6)}
    stones = {cell for cell in board_cells if rules.at(*cell) == mark}
    lines = [
        {(column + across * i, row + up * i) for i in range(4)}
        for column, row in board_cells
        for across, up in ((1, 0), (0, 1), (1, 1), (1, -1))
    ]
    completing = {cell for line in lines if line <= board_cells and len(line & stones) == 3 for cell in line - stones}
    threats = {cell for cell in completing if rules.at(*cell) == "."}
    return len(threats) + 0.1 * sum({2: 1, 3: 2, 4: 1}.get(column, 0) for column, _ in stones)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=42))
def test_heuristic_counts_threats_and_the_middle(choices: list[int]) -> None:
    rules, state, _ = play_both(choices)
    other = "o" if rules.mover == "x" else "x"
    expected = math.tanh((prospects(rules, rules.mover) - prospects(rules, other)) / 4)
    assert float(GAME.heuristic(state)) == pytest.approx(expected, abs=1e-6)


def test_reads_like_a_board() -> None:
    assert GAME.render(played("44536")).split("\n")[-3:] == [". . . o . . .", ". . o x x x .", "1 2 3 4 5 6 7"]
    assert [GAME.parse_action(name) for name in "1234567"] == list(range(COLUMNS))
    with pytest.raises(ValueError, match="no action is called '8'; expected one of 1, 2, 3, 4, 5, 6, 7"):
        GAME.parse_action("8")
